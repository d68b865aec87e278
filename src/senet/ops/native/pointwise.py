"""Pointwise convolutions in inference, with SE inside, each one call into C: ``pointwise.c``."""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from senet.ops import native
from senet.ops.gate import Gate

_c = native.library.load()
_COLUMNS = 64  # as in pointwise.c
_FUNCTIONS = {**native.ACTIVATIONS, **native.GATES, None: 6}  # as in inline.h


class _Layer(ctypes.Structure):
    """``pointwise`` in pointwise.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "bias")),
        *((name, ctypes.c_long) for name in ("inputs", "outputs")),
        ("function", ctypes.c_int),
    )


class Pointwise:
    """The convolution y = f(s (W h + b) + shortcut) of single positions, with packed weights.

    With gates of the inputs it is y = f(W (s h) + b + shortcut).

    Args:
        weight: W, ``[C, C', 1, 1]``, on the CPU.
        bias: b, ``[C]``, or ``None``.
        activation: f, a name of :data:`~senet.ops.activation.ACTIVATIONS`, or ``None``.
        gate: the layers that compute s from meanₙ h, ``[B, C']``; by default s is 1.
        of_inputs: whether these are the gates of h.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        activation: str | None,
        gate: Gate | None = None,
        of_inputs: bool = False,
    ) -> None:
        layers = [(weight, bias, activation)]
        if gate is not None:
            if gate.first is not None:
                layers.append((gate.first, gate.first_bias, gate.activation))
            layers.append((gate.second, gate.second_bias, gate.function))
        self._held = [_packed(weight, bias) for weight, bias, _ in layers]
        described = [
            _Layer(W.data_ptr(), b.data_ptr(), weight.shape[1], len(weight), _FUNCTIONS[f])
            for (W, b), (weight, _, f) in zip(self._held, layers, strict=True)
        ]
        self._layers = (_Layer * len(layers))(*described)
        self._channels = len(weight)
        self._of_inputs = of_inputs

    def __call__(self, h: Tensor, shortcut: Tensor | None, overwrites: bool) -> Tensor:
        """Return y, channels last.

        Args:
            h: map ``[B, C', H, W]``, float32.
            shortcut: of the shape of y, or ``None``.
            overwrites: whether y may overwrite the shortcut.
        """
        last = torch.channels_last
        B, _, *space = h.shape
        h = h.contiguous(memory_format=last)
        added = None if shortcut is None else shortcut.contiguous(memory_format=last)
        if added is not None and (overwrites or added is not shortcut):
            y = added
        else:
            y = torch.empty((B, self._channels, *space), dtype=h.dtype, memory_format=last)
        failed = _c.senet_pointwise(
            *(self._layers, len(self._layers), self._of_inputs, h.data_ptr()),
            *(None if added is None else added.data_ptr(), y.data_ptr()),
            *(B, math.prod(space), torch.get_num_threads()),
        )
        if failed:
            raise MemoryError("no memory for the gates of a feature map")
        return y


def _packed(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return W and b as C reads them: of 64 outputs, their weights of each input side by side."""
    W = weight.detach().flatten(1).float()
    b = W.new_zeros(len(W)) if bias is None else bias.detach().float().contiguous()
    W = F.pad(W, (0, 0, 0, -len(W) % _COLUMNS))
    return W.unflatten(0, (-1, _COLUMNS)).transpose(1, 2).contiguous(), b
