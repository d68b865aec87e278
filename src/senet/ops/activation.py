"""Activations and their gradients in plain PyTorch, as the passes compute them on maps.

At the corners, where a function has two slopes, and for infinities and NaN, gradients are those of
PyTorch's autograd. (For NaN, PyTorch's own ReLU6 kernels disagree; here the gradient is 0.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Activation(NamedTuple):
    """An activation f of maps.

    Attributes:
        function: f(u).
        backward: f'(u) dy, from dy and u; 0 where f is flat, whatever dy is.
    """

    function: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]

    def slope(self, u: Tensor) -> Tensor:
        """Return f'(u)."""
        return self.backward(torch.ones_like(u), u)


def _relu_backward(dy: Tensor, u: Tensor) -> Tensor:
    return dy.masked_fill(u <= 0, 0)


def _relu6_backward(dy: Tensor, u: Tensor) -> Tensor:
    return dy.where((u > 0) & (u < 6), 0)


def _silu_backward(dy: Tensor, u: Tensor) -> Tensor:
    s = torch.sigmoid(u)
    return dy * (s * (1 + u * (1 - s)))


def _hardswish_backward(dy: Tensor, u: Tensor) -> Tensor:
    return dy.where(u >= 3, dy * (u / 3 + 0.5)).masked_fill(u <= -3, 0)


ACTIVATIONS = {
    "relu": Activation(torch.relu, _relu_backward),
    "relu6": Activation(F.relu6, _relu6_backward),
    "silu": Activation(F.silu, _silu_backward),
    "hardswish": Activation(F.hardswish, _hardswish_backward),
}
