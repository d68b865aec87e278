"""Batches in a seeded order: the same seed and epoch give the same batches, wherever they run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from senet.data.arrays import ArraySplit, collate
from senet.data.decode import Picture
from senet.data.source import Split
from senet.data.transforms import generator


class Transform(Protocol):
    """A crop of one image: :class:`~senet.data.transforms.RandomResizedCrop`, ``CentreCrop``."""

    def __call__(self, picture: Picture, generator: torch.Generator) -> Tensor:
        """uint8 ``[C, size, size]``; whatever is random comes from the generator."""
        ...

    def keeps(self, height: int, width: int) -> bool:
        """Whether images of this size come out as they went in."""
        ...


class EpochSampler(Sampler[int]):
    """All indices once: as they are, or in the order that belongs to a seed and an epoch.

    ``set_epoch`` says which epoch comes next. Lightning calls it before every epoch, but asks
    workers for the first batches of a run before that: a run that is resumed gives ``epoch``.

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
    """A split seen through a transform; what is random depends on (seed, epoch, index) alone."""

    def __init__(self, split: Split, transform: Transform, seed: int) -> None:
        self.split, self.transform, self.seed = split, transform, seed

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, index = key
        image = self.transform(self.split.picture(index), generator(self.seed, epoch, index))
        return image.contiguous(), int(self.split.labels[index])


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
) -> DataLoader:
    """Batches of a split: uint8 images ``[B, C, size, size]`` and int64 labels ``[B]``.

    An :class:`~senet.data.arrays.ArraySplit` whose images already have the size that the transform
    gives is copied batch by batch, in this process. Everything else is decoded and cropped image by
    image, in worker processes. The batches depend on the seed and the epoch, not on the workers.

    Args:
        split: the images.
        batch_size: B.
        transform: the crop; may be left out where all images have one size.
        shuffle: in the order that belongs to (seed, epoch), or as they are.
        seed: of the order and of the random crops.
        epoch: where to start; ``loader.sampler.set_epoch`` goes on from there.
        workers: processes that decode; by default up to 4, one a core, and none for arrays.
        drop_last: leave out a last batch that is not full.

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
            # The batch of __getitems__ is no list of samples, which is what the type has in mind.
            whole: Any = collate
            return DataLoader(split, sampler=sampler, collate_fn=whole, **common)
        workers = workers or 0
    if transform is None:
        raise ValueError("photos of many sizes make no batch; give a transform, such as CentreCrop")
    if workers is None:
        workers = min(4, os.cpu_count() or 1)
    return DataLoader(
        _Crops(split, transform, seed),
        sampler=_WithEpoch(len(split), shuffle, seed, epoch),
        num_workers=workers,
        persistent_workers=workers > 0,
        **common,
    )
