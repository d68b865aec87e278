"""Activations with their slopes, in plain PyTorch: what the passes compute on maps.

At the corners, where a slope has two sides, it is the one that PyTorch's autograd takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Activation(NamedTuple):
    """v = f(u), and its derivative f'(u)."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


def _silu_slope(u: Tensor) -> Tensor:
    s = torch.sigmoid(u)
    return s * (1 + u * (1 - s))


def _hardswish_slope(u: Tensor) -> Tensor:
    return (u / 3 + 0.5).where(u < 3, 1).where(u > -3, 0)


ACTIVATIONS = {
    "relu": Activation(torch.relu, lambda u: (u > 0).to(u.dtype)),
    "relu6": Activation(F.relu6, lambda u: ((u > 0) & (u < 6)).to(u.dtype)),
    "silu": Activation(F.silu, _silu_slope),
    "hardswish": Activation(F.hardswish, _hardswish_slope),
}
