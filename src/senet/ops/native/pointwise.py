"""Pointwise convolutions in inference, with SE inside, each one call into C: ``pointwise.c``."""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from senet.ops import native
from senet.ops.gate import Gate
from senet.ops.native import TYPES

_c = native.library.load()
_COLUMNS = 64  # as in pointwise.c
_FUNCTIONS = {**native.ACTIVATIONS, **native.GATES, None: 6}  # as in inline.h


class _Layer(ctypes.Structure):
    """``pointwise`` in pointwise.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "bias")),
        *((name, ctypes.c_long) for name in ("inputs", "outputs")),
        *((name, ctypes.c_int) for name in ("function", "type")),
    )


class Pointwise:
    """The convolution y = f(s (W h + b) + shortcut) of single positions, with packed weights.

    With gates of the inputs it is y = f(W (s h) + b + shortcut).

    Args:
        weight: W, ``[C, C', 1, 1]``, on the CPU, of a type and size that :func:`takes` accepts.
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
        types = [weight.dtype] + [torch.float32] * (
            len(layers) - 1
        )  # gates are computed in float32
        self._held = [
            _packed(weight.to(type_), bias)
            for (weight, bias, _), type_ in zip(layers, types, strict=True)
        ]
        described = [
            _Layer(
                *(v.data_ptr() for v in held), weight.shape[1], len(weight), _FUNCTIONS[f], TYPES[t]
            )
            for held, (weight, _, f), t in zip(self._held, layers, types, strict=True)
        ]
        self._layers = (_Layer * len(layers))(*described)
        self._channels = len(weight)
        self._of_inputs = of_inputs

    def __call__(self, h: Tensor, shortcut: Tensor | None, overwrites: bool) -> Tensor:
        """Return y, channels last.

        Args:
            h: map ``[B, C', H, W]``, of the type of W.
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


def takes(weight: Tensor) -> bool:
    """Whether there is a kernel for W, ``[C, C', 1, 1]``.

    There is for float32; and for bfloat16, with an even number of input channels, where the
    processor multiplies such numbers.
    """
    if weight.dtype == torch.bfloat16 and weight.shape[1] % 2:
        return False
    return weight.dtype in TYPES and bool(_c.senet_has_pointwise(TYPES[weight.dtype]))


def _packed(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return W and b as C reads them: of 64 outputs, their weights of each input side by side.

    In bfloat16 it is those of each pair of inputs.
    """
    W = weight.detach().flatten(1)
    b = W.new_zeros(len(W)) if bias is None else bias.detach()
    W = F.pad(W, (0, 0, 0, -len(W) % _COLUMNS)).unflatten(0, (-1, _COLUMNS))
    step = 2 if W.dtype == torch.bfloat16 else 1
    return W.unflatten(2, (-1, step)).transpose(1, 2).contiguous(), b.float().contiguous()
