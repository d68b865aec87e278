"""Batches in a seeded order: the same seed and epoch give the same batches, wherever they run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from senet.cache import name_of
from senet.data.arrays import ArraySplit, collate
from senet.data.decode import ImageError, Picture
from senet.data.shared_memory import enough_shared_memory
from senet.data.source import Split
from senet.data.transforms import generator

SUBSTITUTES = 10
"""The number of following images of which one may replace an image that can no longer be read. If
none of them can be read, the cause is not the image: its disk is gone."""


class Transform(Protocol):
    """A crop of one image: :class:`~senet.data.transforms.RandomResizedCrop`, ``CentreCrop``."""

    def __call__(self, picture: Picture, generator: torch.Generator) -> Tensor:
        """Return uint8 ``[C, size, size]``; whatever is random comes from the generator."""
        ...

    def keeps(self, height: int, width: int) -> bool:
        """Return whether images of this size come out as they went in."""
        ...


class EpochSampler(Sampler[int]):
    """All indices once, in their order or in one that depends on a seed and an epoch.

    ``set_epoch`` sets the next epoch. Lightning calls it before every epoch, but asks workers for
    the first batches of a run before that: a run that is resumed gives ``epoch``.

    Example:
        >>> sampler = EpochSampler(4, shuffle=True, seed=0)
        >>> first = list(sampler)
        >>> sampler.set_epoch(1)
        >>> list(sampler) == first
        False
        >>> sampler.set_epoch(0)
        >>> list(sampler) == first
        True
    """

    def __init__(self, length: int, shuffle: bool, seed: int = 0, epoch: int = 0) -> None:
        self.length, self.shuffle, self.seed, self.epoch = length, shuffle, seed, epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        if not self.shuffle:
            return iter(range(self.length))
        order = torch.randperm(self.length, generator=generator(self.seed, self.epoch))
        return iter(order.tolist())


class _WithEpoch(EpochSampler):
    """The same indices, each with its epoch, which a worker that outlives epochs cannot know."""

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        return ((self.epoch, index) for index in super().__iter__())


class _Crops(Dataset[tuple[Tensor, int]]):
    """A split seen through a transform; what is random depends on (seed, epoch, index) alone.

    Args:
        split: the images.
        transform: the transform of one image.
        seed: seed of the random numbers.
        substitutes: how many of the images after one that cannot be read are tried in its place.
    """

    def __init__(self, split: Split, transform: Transform, seed: int, substitutes: int) -> None:
        self.split, self.transform, self.seed = split, transform, seed
        self.substitutes = min(substitutes, len(split) - 1)
        # Worker processes write into this, and the process that has started them reads it.
        self.unreadable = torch.zeros(len(split), dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, index = key
        for place in range(index, index + self.substitutes):
            at = place % len(self.split)
            try:
                return self._crop(at, epoch, index)
            except ImageError:
                self.unreadable[at] = True
        return self._crop((index + self.substitutes) % len(self.split), epoch, index)

    def _crop(self, at: int, epoch: int, index: int) -> tuple[Tensor, int]:
        image = self.transform(self.split.picture(at), generator(self.seed, epoch, index))
        return image.contiguous(), int(self.split.labels[at])


def unreadable_indices(batches: DataLoader) -> list[int]:
    """Return the indices of images of a loader's split that could not be read so far."""
    crops = batches.dataset
    return crops.unreadable.nonzero().flatten().tolist() if isinstance(crops, _Crops) else []


def unreadable(batches: DataLoader) -> dict[str, str]:
    """Return the files of a loader that could not be read so far, with the reasons."""
    found = {}
    for index in unreadable_indices(batches):
        split = batches.dataset.split  # type: ignore[attr-defined]
        name = name_of(split.paths[index]) if split.paths else f"image {index}"
        try:
            split.picture(index).pixels(1, 1)
            found[name] = "it can be read again"
        except ImageError as error:
            found[name] = error.reason
    return found


def loader(
    split: Split,
    batch_size: int,
    transform: Transform | None = None,
    *,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
    workers: int | None = None,
    drop_last: bool = False,
    substitutes: int = 0,
) -> DataLoader:
    """Return batches of a split: uint8 images ``[B, C, size, size]`` and int64 labels ``[B]``.

    An :class:`~senet.data.arrays.ArraySplit` whose images already have the size that the transform
    gives is copied batch by batch, in this process. Everything else is decoded and cropped image by
    image, in worker processes. The batches depend on the seed and the epoch, not on the workers.

    Args:
        split: the images.
        batch_size: B.
        transform: the crop; may be left out where all images have one size.
        shuffle: whether the order depends on (seed, epoch), or is that of the split.
        seed: seed of the order and of the random crops.
        epoch: epoch to start with; ``loader.sampler.set_epoch`` sets the later ones.
        workers: processes that decode; by default up to 4, one per core, and none for arrays.
        drop_last: leave out a last batch that is not full.
        substitutes: an image that can no longer be read is replaced by the next one that can, if it
            is among this many; :func:`unreadable` names it. By default it is an error.

    Raises:
        ValueError: if ``transform`` is left out where images have many sizes.

    Example:
        >>> import numpy as np
        >>> split = ArraySplit(torch.zeros(5, 1, 28, 28, dtype=torch.uint8), np.arange(5))
        >>> [labels.tolist() for _, labels in loader(split, 2)]
        [[0, 1], [2, 3], [4]]
    """
    common: dict[str, Any] = {
        "batch_size": batch_size,
        "drop_last": drop_last,
        "pin_memory": torch.cuda.is_available(),
        "generator": generator(seed),  # else every epoch would draw from PyTorch's global numbers
    }
    if isinstance(split, ArraySplit):
        if transform is None or transform.keeps(*split.images.shape[-2:]):
            sampler = EpochSampler(len(split), shuffle, seed, epoch)
            # The batch of __getitems__ is not a list of samples, as its type says.
            whole: Any = collate
            return DataLoader(split, sampler=sampler, collate_fn=whole, **common)
        workers = workers or 0
    if transform is None:
        raise ValueError(
            "photos of many sizes cannot form a batch; give a transform, such as CentreCrop"
        )
    if workers is None:
        workers = min(4, os.cpu_count() or 1)
    crops = _Crops(split, transform, seed, substitutes)
    if workers:
        with enough_shared_memory():
            crops.unreadable.share_memory_()
    return DataLoader(
        crops,
        sampler=_WithEpoch(len(split), shuffle, seed, epoch),
        num_workers=workers,
        persistent_workers=workers > 0,
        **common,
    )
