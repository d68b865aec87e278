"""What every source of labelled images looks like, wherever the images come from."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        paths: the file of every image, or ``None`` where images are not files.
        skipped: files that belong here and cannot be read, with the reason for each.
    """

    labels: np.ndarray
    paths: list[str] | None = None
    skipped: Mapping[str, str] = MappingProxyType({})

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.picture(index).pixels(), int(self.labels[index])

    @abstractmethod
    def picture(self, index: int) -> Picture:
        """Image ``index``, its size known, its pixels possibly still encoded."""

    @abstractmethod
    def subset(self, indices: np.ndarray) -> Self:
        """These images alone, in this order."""

    def relabelled(self, numbers: np.ndarray) -> Self:
        """The same images; ``numbers[k]`` is the new number of the class that was k."""
        split = copy.copy(self)
        split.labels = numbers[self.labels]
        return split

    def keys(self) -> Sequence[str]:
        """A name for every image that stays the same when other images come or go."""
        return [str(index) for index in range(len(self))]


@dataclass(frozen=True)
class Source:
    """A data set: what to train on, what to choose by, what to report.

    Attributes:
        name: what to call it.
        classes: name of every class; a label is an index into this.
        train: images to learn from.
        val: images to choose by (epochs, settings); ``None`` if there were too few to hold any out.
        test: images to report on, which nothing was chosen by.
        preprocessing: size and normalisation that suit these images.
        record: of a folder, what went where, in lists and strings that JSON can hold. Handed to
            :func:`~senet.data.folder.open_folder` again it gives the same splits. Else ``None``.
        path: of a folder, where it is. Else ``None``.
        extent: how large its images are, where they are of many sizes.
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

    @property
    def counts(self) -> dict[str, int]:
        """How many images there are to train on, to validate with, and to test on."""
        val = len(self.val) if self.val else 0
        return {"train": len(self.train), "val": val, "test": len(self.test)}
