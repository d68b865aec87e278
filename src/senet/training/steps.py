"""Which images are in which step of a training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import Any

from torch.utils.data import Sampler

from senet.data.loaders import EpochSampler


class Steps(Sampler[list[Any]]):
    """The batches of an epoch: the same number in every epoch, all full.

    The epoch that a resumed training is in begins at one of its batches, later epochs at their
    first. Which of the two it is follows from the epoch of the images' order, and not from whether
    somebody has iterated before: a loader with worker processes asks for more than one iterator.

    Lightning calls ``set_epoch`` of what it finds as ``sampler``, and counts the batches of a whole
    epoch in a resumed one too, so the length is always that.

    Args:
        images: their order in every epoch.
        batch_size: images a step.
        steps: batches an epoch. If there are too few images for so many, some come twice.
        epoch: the one that the training begins in.
        first: the batch that it begins with.

    Example:
        >>> images = EpochSampler(7, shuffle=False, epoch=2)
        >>> steps = Steps(images, batch_size=2, steps=3, epoch=2, first=1)
        >>> list(steps), list(steps)
        ([[2, 3], [4, 5]], [[2, 3], [4, 5]])
        >>> images.set_epoch(3)
        >>> list(steps)
        [[0, 1], [2, 3], [4, 5]]
    """

    def __init__(
        self, images: EpochSampler, batch_size: int, steps: int, epoch: int = 0, first: int = 0
    ) -> None:
        self.sampler, self.batch_size, self.steps = images, batch_size, steps
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Any]]:
        first = self.first if self.sampler.epoch == self.epoch else 0
        images = chain.from_iterable(repeat(self.sampler))
        batches = iter(lambda: list(islice(images, self.batch_size)), [])
        return islice(batches, first, self.steps)
