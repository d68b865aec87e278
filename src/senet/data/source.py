"""The form of every source of labelled images, wherever the images come from."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from senet.data.decode import Picture
from senet.preprocessing import Preprocessing

Extent = tuple[tuple[int, int], tuple[int, int]]
"""Width and height in pixels of the smallest image and of the largest."""


class Split(Dataset[tuple[Tensor, int]]):
    """Labelled images: ``split[i]`` is a uint8 tensor ``[C, H, W]`` and the number of its class.

    Attributes:
        labels: class number of every image, int64 ``[n]``.
        paths: the file of every image, or ``None`` if images are not files.
        digests: digests of the contents of these files, as far as they were checked.
        skipped: files that belong here but cannot be read, with the reason for each.
    """

    labels: np.ndarray
    paths: list[str] | None = None
    digests: list[str] | tuple[str, ...] = ()
    skipped: Mapping[str, str] = MappingProxyType({})

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.picture(index).pixels(), int(self.labels[index])

    @abstractmethod
    def picture(self, index: int) -> Picture:
        """Return image ``index`` with its size; its pixels may still be encoded."""

    @abstractmethod
    def subset(self, indices: np.ndarray) -> Self:
        """Return only these images, in this order."""

    def relabelled(self, numbers: np.ndarray) -> Self:
        """Return the same images; ``numbers[k]`` is the new number of the class that was k."""
        split = copy.copy(self)
        split.labels = numbers[self.labels]
        return split

    def keys(self) -> Sequence[str]:
        """Return a name for every image that stays the same when other images come or go."""
        return [str(index) for index in range(len(self))]


@dataclass(frozen=True)
class Source:
    """A data set: images to train on, to choose by, and to report on.

    Attributes:
        name: name of the data set.
        classes: name of every class; a label is an index into this.
        train: images to learn from.
        val: images to choose by (epochs, settings); ``None`` if there were too few to hold any out.
        test: images to report on, by which nothing was chosen.
        preprocessing: size and normalisation that suit these images.
        record: for a folder, the images of each split, in lists and strings that JSON can hold;
            with it :func:`~senet.data.folder.open_folder` gives the same splits. Else ``None``.
        path: for a folder, its path. Else ``None``.
        extent: how large its images are, if they are of many sizes.
        left_out: files in class folders that are in no split, with the reason for each.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split | None
    test: Split
    preprocessing: Preprocessing
    record: dict[str, Any] | None = None
    path: str | None = None
    extent: Extent | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Return the numbers of images to train on, to validate with, and to test on."""
        val = len(self.val) if self.val else 0
        return {"train": len(self.train), "val": val, "test": len(self.test)}
