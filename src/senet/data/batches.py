"""The images of a split as a network takes them, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from senet.data import transforms
from senet.data.loaders import SUBSTITUTES, Transform, loader, unreadable, unreadable_indices
from senet.data.shared_memory import enough_shared_memory
from senet.data.source import Split
from senet.preprocessing import Preprocessing


@dataclass(frozen=True)
class Batches:
    """The images of a split as a network takes them, with their labels, as often as needed.

    Attributes:
        split: the images.
        preprocessing: the preprocessing that the network expects.
        batch_size: images per batch.
        device: the device of the batches.
        workers: processes that decode images; ``None`` for a suitable number.
        crop: the crop of each image, random by ``seed`` and ``epoch``; by default the evaluation's.
        epoch: see ``crop``.
        seed: see ``crop``.
        bad: indices of images that could not be read the last time; others took their places.
        bad_files: their names, with the reasons.
    """

    split: Split
    preprocessing: Preprocessing
    batch_size: int = 256
    device: torch.device | str = "cpu"
    workers: int | None = None
    crop: Transform | None = None
    epoch: int = 0
    seed: int = 0
    bad: list[int] = field(default_factory=list, init=False)
    bad_files: dict[str, str] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        p = self.preprocessing
        batches = loader(
            self.split,
            self.batch_size,
            self.crop or transforms.CentreCrop.of(p),
            seed=self.seed,
            epoch=self.epoch,
            workers=self.workers,
            substitutes=SUBSTITUTES,
        )
        with enough_shared_memory():
            for images, labels in batches:
                x = transforms.normalise(images.to(self.device), p.mean, p.std, channels_last=True)
                yield x, labels
        self.bad[:] = unreadable_indices(batches)
        self.bad_files.update(unreadable(batches) if self.bad else {})
