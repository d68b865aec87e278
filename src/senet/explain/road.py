"""ROAD: how far to believe a map that says which pixels matter.

The pixels that the map marks are removed, and the network is asked again. Removed pixels take the
values that their neighbours suggest, plus a little noise, so that their shape says nothing (Rong,
Leemann, Borisov, Kasneci, Kasneci, "A Consistent and Efficient Evaluation Strategy for Attribution
Methods", ICML 2022). If the map is right, the answer's probability falls faster than for maps that
know nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.nn import functional as F

SHARES = (0.2, 0.4, 0.6, 0.8)
"""Shares of the pixels that are removed."""

RANDOM = 19
"""Random maps to compare with: a map below all of them is so by luck once in twenty times."""

NOISE = 0.01
"""Standard deviation of the noise of removed pixels, in those of the normalised images."""


@dataclass(frozen=True)
class Road:
    """The probability of an answer, by the share of the pixels that are removed.

    Attributes:
        shares: the shares, ``[n]``, beginning with 0.
        most: with the pixels that the map marks most removed first, ``[n]``.
        least: with those that it marks least removed first, ``[n]``.
        random: with the pixels of random maps of the same grain, ``[RANDOM, n]``.
    """

    shares: np.ndarray
    most: np.ndarray
    least: np.ndarray
    random: np.ndarray

    @property
    def believed(self) -> bool:
        """Whether the map's pixels lower the probability more than those of every random map."""
        return bool(self.most.mean() < self.random.mean(1).min())


def road(
    probability: Callable[[Tensor], Tensor], x: Tensor, marks: Tensor, random: int = RANDOM
) -> Road:
    """Remove pixels in the order of a map, and in that of random maps of the same grain.

    Args:
        probability: returns the probability of the answer, ``[B]``, for images ``[B, C, H, W]``.
        x: the image, ``[1, C, H, W]``.
        marks: the map, ``[h, w]``; it is enlarged to the image.
        random: the number of random maps.

    Example:
        >>> x = torch.zeros(1, 1, 8, 8)
        >>> x[..., 2:4, 2:4] = 1
        >>> found = road(lambda images: images.amax((1, 2, 3)), x, x[0, 0])
        >>> bool(found.most[1] < 0.9 * found.least[1])
        True
    """
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(random, *marks.shape, generator=generator)
    maps = torch.cat([marks[None].cpu(), -marks[None].cpu(), drawn])
    size = tuple(x.shape[2:])
    large = F.interpolate(maps[:, None].float(), size, mode="bilinear", align_corners=False)
    # A tie, as where Grad-CAM is zero, is broken at random.
    order = (large.flatten(1) + 1e-6 * torch.rand(large[0].numel(), generator=generator)).argsort(
        1, descending=True
    )
    curves = np.empty((len(maps), 1 + len(SHARES)))
    curves[:, 0] = float(probability(x)[0])
    for row, own in enumerate(order):
        images = [_without(x[0], own[: round(share * own.numel())], generator) for share in SHARES]
        curves[row, 1:] = probability(torch.stack(images).to(x)).cpu().numpy()
    return Road(np.array((0.0, *SHARES)), curves[0], curves[1], curves[2:])


_NEIGHBOURS = {
    **dict.fromkeys(((0, 1), (0, -1), (1, 0), (-1, 0)), 1 / 6),
    **dict.fromkeys(((1, 1), (1, -1), (-1, 1), (-1, -1)), 1 / 12),
}
"""The weights of a pixel's neighbours: direct ones count twice as much as diagonal ones."""


def _without(image: Tensor, removed: Tensor, generator: torch.Generator) -> Tensor:
    """Return an image ``[C, H, W]`` in which every removed pixel is the mean of its neighbours."""
    pixels = image.detach().cpu().double().flatten(1).numpy().T.copy()  # [H·W, C]
    H, W = image.shape[1:]
    gone = np.zeros(H * W, bool)
    gone[removed.numpy()] = True
    at, number = np.flatnonzero(gone), np.cumsum(gone) - 1
    total, given = np.zeros(len(at)), np.zeros((len(at), pixels.shape[1]))
    rows, columns, values = [], [], []
    for (down, right), weight in _NEIGHBOURS.items():
        y, x = at // W + down, at % W + right
        inside = (y >= 0) & (y < H) & (x >= 0) & (x < W)
        other = np.where(inside, y * W + x, 0)
        total += weight * inside
        known = inside & ~gone[other]
        given[known] += weight * pixels[other[known]]
        unknown = inside & gone[other]
        rows.append(np.flatnonzero(unknown))
        columns.append(number[other[unknown]])
        values.append(np.full(unknown.sum(), -weight))
    n = len(at)
    rows, columns = (np.concatenate([*part, np.arange(n)]) for part in (rows, columns))
    matrix = sparse.csc_matrix((np.concatenate([*values, total]), (rows, columns)), (n, n))
    # The matrix is symmetric and dominated by its diagonal: no pivots, and the order is its own.
    factors = splu(matrix, "MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True})
    filled = torch.from_numpy(factors.solve(given))
    pixels[at] = filled + NOISE * torch.randn(filled.shape, generator=generator).double()
    return torch.from_numpy(pixels.T.reshape(image.shape)).float()
