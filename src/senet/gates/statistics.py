"""The gates of an SE block over many images, by class: what they are, and how much they move.

Figure 6 of the paper is the mean gate of every channel by class; Figure 7 adds the standard
deviation within a class. Where the means of the classes differ, the block has learned what a class
needs; where they coincide, it treats all images alike; where gates are 1, it does nothing and could
be removed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

OPEN, CLOSED = 0.95, 0.05
"""Gates above ``OPEN`` or below ``CLOSED`` count as saturated."""


class Moments:
    """The mean and the spread of numbers ``[B, C]`` by class, added up batch by batch.

    Args:
        classes: number of classes; 1 where there are no labels.
        channels: C.

    Attributes:
        images: images of each class, ``[classes]``.

    Example:
        >>> moments = Moments(classes=2, channels=1)
        >>> moments.add(torch.tensor([[0.2], [0.4], [0.9]]), torch.tensor([0, 0, 1]))
        >>> moments.mean
        tensor([[0.3000],
                [0.9000]], dtype=torch.float64)
    """

    def __init__(self, classes: int, channels: int) -> None:
        self.images = torch.zeros(classes, dtype=torch.float64)
        # Means and sums of squares about them are merged batch by batch (Chan, Golub and LeVeque,
        # 1979): Σx² − n·mean² would cancel for numbers that hardly move.
        self._mean = torch.zeros(classes, channels, dtype=torch.float64)
        self._squares = torch.zeros(classes, channels, dtype=torch.float64)

    @classmethod
    def of(cls, mean: Tensor, std: Tensor, images: Tensor) -> Moments:
        """Return the moments of numbers of which these are known, ``[classes, C]``."""
        moments = cls(*mean.shape)
        moments.images = images.clone()
        moments._mean = mean.nan_to_num()
        moments._squares = (std.square() * images[:, None]).nan_to_num()
        return moments

    def add(self, x: Tensor, labels: Tensor) -> None:
        """Add the numbers ``[B, C]`` of a batch with its labels ``[B]``, both on the CPU."""
        x = x.double()
        seen, own = labels.unique(return_inverse=True)
        zeros = x.new_zeros(len(seen), x.shape[1])
        images = own.bincount().double()
        mean = zeros.index_add(0, own, x) / images[:, None]
        squares = zeros.index_add(0, own, (x - mean[own]).square())
        self._merge(seen, images, mean, squares)

    def merge(self, other: Moments) -> None:
        """Add the numbers that another process or pass has added up, as if they were added here.

        Example:
            >>> here, there = Moments(1, 1), Moments(1, 1)
            >>> here.add(torch.tensor([[1.0]]), torch.tensor([0]))
            >>> there.add(torch.tensor([[4.0], [4.0]]), torch.tensor([0, 0]))
            >>> here.merge(there)
            >>> here.mean
            tensor([[3.]], dtype=torch.float64)
        """
        seen = other.images.nonzero().flatten()
        self._merge(seen, other.images[seen], other._mean[seen], other._squares[seen])

    def _merge(self, classes: Tensor, images: Tensor, mean: Tensor, squares: Tensor) -> None:
        before, shift = self.images[classes], mean - self._mean[classes]
        self.images[classes] += images
        share = (images / self.images[classes])[:, None]
        self._mean[classes] += shift * share
        self._squares[classes] += squares + shift.square() * before[:, None] * share

    @property
    def mean(self) -> Tensor:
        """The mean over the images of a class, ``[classes, C]``; NaN for a class without images."""
        return self._mean.masked_fill((self.images == 0)[:, None], torch.nan)

    @property
    def std(self) -> Tensor:
        """The standard deviation over the images of a class, ``[classes, C]``, likewise."""
        return (self._squares / self.images[:, None]).sqrt()  # 0 / 0 for a class without images


@dataclass(frozen=True)
class Examples:
    """Some of the images that were run, drawn uniformly from all; the same for every block.

    Attributes:
        z: the squeezed feature maps, ``[E, C]``.
        s: the gates, ``[E, C]``.
        labels: the classes, ``[E]``.
        images: the position of each in the order of the images, ``[E]``.
    """

    z: Tensor
    s: Tensor
    labels: Tensor
    images: Tensor


@dataclass(frozen=True)
class BlockGates:
    """The gates of one SE block over many images, and what it squeezed them from.

    Attributes:
        name: name of the block in the network, such as ``layer1.0.se``.
        mean: mean gate over the images of a class, ``[classes, C]``; NaN for a class without
            images.
        std: standard deviation over the images of a class, ``[classes, C]``, likewise.
        images: images of each class, ``[classes]``.
        open: share of all gates, over images and channels, above 0.95.
        closed: share of all gates below 0.05.
        squeezed: z, the means of the feature map over space, by class; ``None`` if they were not
            recorded.
        examples: z and s of some single images; ``None`` if none were asked for.
        why: why the block's output is not its map times these gates, one number per image and
            channel; empty where it is.
    """

    name: str
    mean: Tensor
    std: Tensor
    images: Tensor
    open: float
    closed: float
    squeezed: Moments | None = None
    examples: Examples | None = None
    why: str = ""

    @property
    def overall(self) -> Tensor:
        """The mean gate of every channel over all images, ``[C]``."""
        seen = self.images > 0
        # The sums of float32 gates are exact, so the mean of a gate that never moves is that gate.
        return (self.images[seen, None] * self.mean[seen]).sum(0) / self.images.sum()

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of every channel's gate over all images, ``[C]``."""
        return self._variances_by_channel().sum(0).sqrt()

    @property
    def class_dependence(self) -> float:
        """The variance between classes over the total variance, summed over channels: η², 0 … 1.

        At 0 the gates are the same for every class; at 1 the class alone decides them.
        """
        between, within = self._variances()
        total = between + within
        return between / total if total > 0 else 0.0

    @property
    def variation(self) -> float:
        """The movement of the gates from image to image, relative to their size.

        It is √(Σ variance / Σ mean²), with sums over channels. At 0 the block multiplies all images
        alike.
        """
        moved = sum(self._variances())
        return math.sqrt(moved / float(self.overall.square().sum())) if moved > 0 else 0.0

    def _variances(self) -> tuple[float, float]:
        """Return the variance between classes and within them, summed over channels."""
        between, within = self._variances_by_channel().sum(1).tolist()
        return between, within

    def _variances_by_channel(self) -> Tensor:
        """Return the variance between classes and within them, ``[2, C]``."""
        seen = self.images > 0
        weights = self.images[seen, None] / self.images.sum()
        between = (weights * (self.mean[seen] - self.overall).square()).sum(0)
        within = (weights * self.std[seen].square()).sum(0)
        return torch.stack([between, within])

    @property
    def stage(self) -> str:
        """The part of the network that the block is in: ``layer1`` of ``layer1.0.se``."""
        return self.name.split(".")[0]
