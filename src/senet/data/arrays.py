"""Small images of one size, held in memory as one tensor and fetched one batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from senet.data.decode import Picture
from senet.data.source import Split
from senet.preprocessing import Preprocessing


class ArraySplit(Split):
    """Images in one uint8 tensor ``[n, C, H, W]``.

    Example:
        >>> split = ArraySplit(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), np.array([0, 1, 1, 0]))
        >>> images, labels = split.__getitems__([1, 3])
        >>> images.shape, labels
        (torch.Size([2, 1, 28, 28]), tensor([1, 0]))
    """

    def __init__(self, images: Tensor, labels: np.ndarray) -> None:
        assert images.dtype == torch.uint8, images.dtype
        assert images.dim() == 4, images.shape
        assert len(images) == len(labels), (images.shape, labels.shape)
        self.images = images
        self.labels = np.asarray(labels, dtype=np.int64)

    def picture(self, index: int) -> Picture:
        return Picture(self.images[index])

    def subset(self, indices: np.ndarray) -> Self:
        return type(self)(self.images[torch.from_numpy(indices)], self.labels[indices])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return a whole batch by one copy; a loader calls this. See :func:`collate`."""
        index = torch.as_tensor(indices)
        labels = torch.from_numpy(self.labels)
        return self.images.index_select(0, index), labels.index_select(0, index)


def collate(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the batch: the ``collate_fn`` for an :class:`ArraySplit`, whose batches are whole."""
    return batch


def suited(splits: dict[str, ArraySplit]) -> tuple[dict[str, ArraySplit], Preprocessing]:
    """Return splits of RGB images, with one channel if all are grey, and their preprocessing.

    Formats such as WebP store grey as three equal colours. The size is that of the images; mean and
    deviation are measured over all of ``train``.
    """
    if all(_is_grey(split.images) for split in splits.values()):
        splits = {
            part: ArraySplit(split.images[:, :1].clone(), split.labels)
            for part, split in splits.items()
        }
    images = splits["train"].images
    mean, std = measure(images)
    return splits, Preprocessing(images.shape[-1], mean, std)


def _is_grey(images: Tensor) -> bool:
    red, green, blue = images.unbind(1)
    return red.equal(green) and green.equal(blue)


def measure(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of every channel of uint8 ``[n, C, H, W]``.

    They are for pixels in 0 … 1, and computed in whole numbers: exact before the last rounding, to
    four digits.

    Example:
        >>> measure(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
        ((0.5,), (0.5,))
    """
    mean, std = [], []
    levels = np.arange(256, dtype=np.int64)
    for channel in images.unbind(1):
        counts = np.zeros(256, dtype=np.int64)
        for chunk in channel.split(4096):  # bincount widens its input to 8 bytes per pixel
            counts += np.bincount(chunk.flatten().numpy(), minlength=256)
        n, total, squares = (int((counts * levels**power).sum()) for power in range(3))
        mean.append(round(total / n / 255, 4))
        # A channel that never changes has no scale of its own.
        std.append(round(max(n * squares - total**2, 0) ** 0.5 / n / 255, 4) or 1.0)
    return tuple(mean), tuple(std)
