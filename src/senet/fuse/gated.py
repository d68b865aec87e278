"""Pointwise convolutions with the gates of SE inside: behind the convolution, or before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from senet.fuse.convolution import Convolution
from senet.ops.gate import Gate, gates_of, rescale


class _Gated(Convolution):
    """A convolution, and the layers that compute gates from the mean of its input."""

    ours = torch.float32, torch.bfloat16
    of_inputs: bool

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *options: Any, gate: Gate, **others: Any
    ) -> None:
        super().__init__(weight, bias, *options, **others)
        for name, value in gate._asdict().items():
            if isinstance(value, Tensor):
                self.register_buffer(f"gate_{name}", value.detach())
            else:
                setattr(self, f"gate_{name}", value)

    @property
    def gate(self) -> Gate:
        """The layers."""
        return Gate(*(getattr(self, f"gate_{name}") for name in Gate._fields))

    def _gates(self) -> tuple[Gate, bool]:
        return self.gate, self.of_inputs


class GatedOutput(_Gated):
    """The map y = f(s u + shortcut) with u = W h + b and the gates s of the mean of u over space.

    Args:
        weight: W, ``[C, C', 1, 1]``.
        bias: b, ``[C]``, or ``None``.
        gate: the layers, applied to the mean of u.
        relu: whether f is a ReLU, which ends a tail, or nothing.
    """

    of_inputs = False

    def __init__(self, weight: Tensor, bias: Tensor | None, gate: Gate, relu: bool) -> None:
        early = gate.before(weight.flatten(1), bias)
        super().__init__(weight, bias, gate=early, activation="relu" if relu else None)

    def _by_steps(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        u, s = self.convolve(x, None, None), gates_of(x, self.gate)
        return rescale(u, s, shortcut, self.activation is not None, inplace=True)


class GatedInput(_Gated):
    """The map y = f(W (s h) + b + shortcut) with the gates s of the mean of h over space.

    Args:
        weight: as in :class:`~senet.fuse.convolution.Convolution`, like all others;
            ``[C, C', 1, 1]``.
        gate: the layers, applied to the mean of h.
    """

    of_inputs = True

    def _by_steps(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        scaled = rescale(x, gates_of(x, self.gate))
        return self.convolve(scaled, shortcut, self.activation)
