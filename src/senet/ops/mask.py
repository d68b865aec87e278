"""The mask of a ReLU: where it passes a gradient.

A mask has one of two forms, which its type distinguishes:

* the output y of the ReLU: dy passes except where y <= 0, as in PyTorch (so also where y is NaN);
* one bit per number, ``uint8`` and one-dimensional: bit i % 8 of byte i // 8 is 1 if dy passes at
  number i of the map, in memory order.

The first costs nothing if y is kept anyway; the second is read 32 times as fast.
"""

from __future__ import annotations

import torch
from torch import Tensor


def in_bits(mask: Tensor) -> bool:
    """Whether ``mask`` has one bit per number."""
    return mask.dtype == torch.uint8


def length(x: Tensor) -> int:
    """Return the number of bytes of a mask in bits for the map ``x``."""
    return (x.numel() + 7) // 8


def as_map(mask: Tensor, x: Tensor) -> Tensor:
    """Return ``mask`` as a map like ``x``, which is dense: above 0, or NaN, where dy passes.

    Example:
        >>> as_map(torch.tensor([0b101], dtype=torch.uint8), torch.ones(1, 1, 3))
        tensor([[[1., 0., 1.]]])
    """
    if not in_bits(mask):
        return mask
    bits = mask[:, None] >> torch.arange(8, dtype=torch.uint8, device=mask.device) & 1
    numbers = bits.flatten()[: x.numel()].to(x.dtype)
    if x.is_contiguous():
        return numbers.view(x.shape)
    B, C, *space = x.shape
    return numbers.view(B, *space, C).movedim(-1, 1)
