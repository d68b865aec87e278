"""The mask of a ReLU: where it lets a gradient through.

A mask is one of two things, and says itself which:

* the map y that the ReLU made: dy passes but where y <= 0, as in PyTorch (so where y is NaN, too);
* one bit a number, ``uint8`` and one-dimensional: bit i % 8 of byte i // 8 is 1 where dy passes
  number i of the map, in the order in which its numbers lie in memory.

The first costs nothing where y is kept anyway, the second is read 32 times as fast.
"""

from __future__ import annotations

import torch
from torch import Tensor


def in_bits(mask: Tensor) -> bool:
    """Whether ``mask`` is one bit a number."""
    return mask.dtype == torch.uint8


def length(x: Tensor) -> int:
    """The number of bytes of a mask in bits for the map ``x``."""
    return (x.numel() + 7) // 8


def as_map(mask: Tensor, x: Tensor) -> Tensor:
    """``mask`` as a map like ``x``, which is dense: above 0, or NaN, where dy passes.

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
