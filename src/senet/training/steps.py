"""The images of each step of a training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import Any

from torch.utils.data import Sampler

from senet.data.loaders import EpochSampler


class Steps(Sampler[list[Any]]):
    """The batches of an epoch: the same number in every epoch, all full.

    A resumed training begins in the middle of an epoch; later epochs begin at their first batch.
    The epoch of the image sampler decides which of the two applies, not whether this sampler was
    iterated before: a loader with worker processes creates more than one iterator.

    Lightning calls ``set_epoch`` of the attribute ``sampler``, and counts the batches of a whole
    epoch even in a resumed one, so the length is always that of a whole epoch.

    Args:
        images: the order of the images in every epoch.
        batch_size: images per step.
        steps: batches per epoch. If there are too few images for that many, some come twice.
        epoch: the epoch in which the training begins.
        first: the batch with which it begins.

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
