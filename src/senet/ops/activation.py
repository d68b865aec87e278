"""Activations and their gradients, in plain PyTorch: what the passes compute on maps.

At the corners, where a slope has two sides, and for infinities and NaN, gradients are those of
PyTorch's autograd. (For a NaN behind ReLU6 its own kernels differ; here no gradient passes.)
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
        backward: f'(u) dy, from dy and u. Where f is flat that is 0, whatever dy is.
    """

    function: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]

    def slope(self, u: Tensor) -> Tensor:
        """f'(u)."""
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
