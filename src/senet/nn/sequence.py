"""Squeezes of sequences: a mean for every position, of what stands before it or around it.

The paper's squeeze sees the whole map. A stream of sound has no whole: at each position there is
only what came before (a causal mean), or what is near (a window). Both leave out positions that a
mask hides, so that the edges of a padded sequence are those of the sequence alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from senet.ops.reference import mask_of


class Stream(NamedTuple):
    """What a causal mean carries from one piece of a sequence to the next.

    Attributes:
        total: the sum of every channel so far, ``[B, C]``. It is float64: in float32 a sum over
            millions of positions would not notice one more.
        positions: the number of positions so far, ``[B, 1]``.
    """

    total: Tensor
    positions: Tensor


def causal_mean(u: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean of every channel over all positions up to each one.

    Args:
        u: feature map ``[B, C, T]``.
        mask: the positions that count, boolean, ``[B, T]`` or ``[B, 1, T]``. All by default.

    Returns:
        z, ``[B, C, T]``, of the type of ``u``; 0 where no position has counted yet.

    Raises:
        ValueError: if the map is not one of sequences, or the mask does not fit it.

    Example:
        >>> causal_mean(torch.tensor([[[1.0, 3.0, 8.0]]]))
        tensor([[[1., 2., 4.]]])
    """
    seen, filled = _counting(u, mask, "causal")
    totals = filled.cumsum(2, dtype=torch.promote_types(u.dtype, torch.float32))
    return (totals / seen.cumsum(2).clamp(min=1)).to(u.dtype)


def continued_mean(
    u: Tensor, stream: Stream | None = None, mask: Tensor | None = None
) -> tuple[Tensor, Stream]:
    """Return the causal mean of the next piece of a sequence, and the stream for the piece after.

    Args:
        u: the next positions, ``[B, C, T]``.
        stream: what has been seen of the sequence before them; ``None`` at its start.
        mask: as for :func:`causal_mean`.

    Raises:
        ValueError: as for :func:`causal_mean`.

    Example:
        >>> z, stream = continued_mean(torch.tensor([[[1.0, 3.0]]]))
        >>> continued_mean(torch.tensor([[[8.0]]]), stream)[0]
        tensor([[[4.]]])
    """
    if stream is None:
        nothing = u.new_zeros(u.shape[:2], dtype=torch.float64)
        stream = Stream(nothing, torch.zeros_like(nothing[:, :1], dtype=torch.int64))
    seen, filled = _counting(u, mask, "causal")
    counts = (seen.cumsum(2) + stream.positions[:, :, None]).clamp(min=1)
    totals = filled.cumsum(2, dtype=torch.float64) + stream.total[:, :, None]
    after = Stream(
        stream.total + filled.sum(2, dtype=torch.float64), stream.positions + seen.sum(2)
    )
    return (totals / counts).to(u.dtype), after


def window_mean(u: Tensor, size: int, mask: Tensor | None = None) -> Tensor:
    """Return the mean of every channel over a window around each position.

    A window holds the position, (size − 1) // 2 before it and size // 2 after it; what reaches
    beyond the sequence or is hidden by the mask does not count, in the sum or in the number.

    Args:
        u: feature map ``[B, C, T]``.
        size: positions of a window.
        mask: as for :func:`causal_mean`.

    Returns:
        z, ``[B, C, T]``, of the type of ``u``; 0 where no position of the window counts.

    Raises:
        ValueError: as for :func:`causal_mean`.

    Example:
        >>> window_mean(torch.tensor([[[1.0, 3.0, 8.0]]]), size=3)
        tensor([[[2.0000, 4.0000, 5.5000]]])
    """
    seen, filled = _counting(u, mask, "window")
    wide = torch.promote_types(u.dtype, torch.float32)
    total, count = _mean_around(filled.to(wide), size), _mean_around(seen.to(wide), size)
    return (total / count.clamp(min=1 / size)).to(u.dtype)


def _mean_around(value: Tensor, size: int) -> Tensor:
    """Return the sum over each window, divided by its size; what is beyond the edges is 0."""
    return F.avg_pool1d(F.pad(value, ((size - 1) // 2, size // 2)), size, 1)


def _counting(u: Tensor, mask: Tensor | None, squeeze: str) -> tuple[Tensor, Tensor]:
    """Return which positions count, ``[B, 1, T]``, and the map with 0 where they do not."""
    if u.dim() != 3:
        raise ValueError(
            f'squeeze="{squeeze}" is for sequences [B, C, T], and the map has the shape '
            f'{list(u.shape)}: use squeeze="avg" for images and volumes'
        )
    if mask is None:
        return torch.ones_like(u[:1, :1], dtype=torch.bool), u
    seen = mask_of(u, mask)
    return seen, u.masked_fill(~seen, 0)
