"""The gates of an SE block over many images, by class: what they are, and how much they move."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

OPEN, CLOSED = 0.95, 0.05
"""From where on, and up to where, a gate counts as saturated."""


@dataclass(frozen=True)
class BlockGates:
    """The gates of one SE block over the images of a split.

    Attributes:
        name: of the block in the network, such as ``layer1.0.se``.
        mean: mean gate over the images of a class, ``[classes, C]``; NaN for a class of no image.
        std: standard deviation over the images of a class, ``[classes, C]``, likewise.
        images: images of each class, ``[classes]``.
        open: share of all gates, over images and channels, above 0.95.
        closed: share of all gates below 0.05.
    """

    name: str
    mean: Tensor
    std: Tensor
    images: Tensor
    open: float
    closed: float

    @property
    def overall(self) -> Tensor:
        """Mean gate of every channel over all images, ``[C]``."""
        seen = self.images > 0
        # The sums of float32 gates are exact, and so the mean of a gate that never moves is it.
        return (self.images[seen, None] * self.mean[seen]).sum(0) / self.images.sum()

    @property
    def class_dependence(self) -> float:
        """Variance between classes over total variance, summed over channels: η², 0 … 1.

        0: the gates are the same for every class. 1: the class alone decides them.
        """
        between, within = self._variances()
        total = between + within
        return between / total if total > 0 else 0.0

    @property
    def variation(self) -> float:
        """How far the gates move from image to image, beside their size: √(Σ variance / Σ mean²).

        The sums are over channels. 0: the block multiplies all images alike.
        """
        moved = sum(self._variances())
        return math.sqrt(moved / float(self.overall.square().sum())) if moved > 0 else 0.0

    def _variances(self) -> tuple[float, float]:
        """Between classes and within them, summed over channels."""
        seen = self.images > 0
        weights = self.images[seen, None] / self.images.sum()
        between = (weights * (self.mean[seen] - self.overall).square()).sum()
        within = (weights * self.std[seen].square()).sum()
        return float(between), float(within)

    @property
    def stage(self) -> str:
        """The part of the network that it is in: ``layer1`` of ``layer1.0.se``."""
        return self.name.split(".")[0]


class GateSums:
    """What one pass over the images adds up: a split need not fit in memory.

    Args:
        classes: number of classes; 1 where there are no labels.
        channels: C of the block.

    Example:
        >>> sums = GateSums(classes=2, channels=1)
        >>> sums.add(torch.tensor([[0.2], [0.4], [0.9]]), torch.tensor([0, 0, 1]))
        >>> sums.result("layer1.0.se").overall
        tensor([0.5000], dtype=torch.float64)
    """

    def __init__(self, classes: int, channels: int) -> None:
        self.images = torch.zeros(classes, dtype=torch.float64)
        # Means and sums of squares about them are merged batch by batch (Chan, Golub and LeVeque,
        # 1979): Σs² − n·mean² would cancel for gates that hardly move.
        self.mean = torch.zeros(classes, channels, dtype=torch.float64)
        self.squares = torch.zeros(classes, channels, dtype=torch.float64)
        self.open = self.closed = 0

    def add(self, s: Tensor, labels: Tensor) -> None:
        """Take in the gates ``[B, C]`` of a batch, and its labels ``[B]``; on the CPU."""
        self.open += int((s > OPEN).sum())
        self.closed += int((s < CLOSED).sum())
        s = s.double()
        for label in labels.unique():
            own = s[labels == label]
            n, mean = len(own), own.mean(0)
            before, shift = self.images[label].clone(), mean - self.mean[label]
            self.images[label] += n
            self.mean[label] += shift * n / self.images[label]
            self.squares[label] += (own - mean).square().sum(0)
            self.squares[label] += shift.square() * n * before / self.images[label]

    def result(self, name: str) -> BlockGates:
        """All of it together, of the block ``name``."""
        gates = float(self.images.sum()) * self.mean.shape[1]
        none = (self.images == 0)[:, None]
        return BlockGates(
            name,
            self.mean.masked_fill(none, torch.nan),
            (self.squares / self.images[:, None]).sqrt().masked_fill(none, torch.nan),
            self.images,
            self.open / gates,
            self.closed / gates,
        )
