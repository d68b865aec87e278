"""A data set on the device: all images at once, and four rows of numbers for each batch.

The batches are those of :mod:`senet.training`: the same seed, epoch and step give the same images,
shifts and flips, drawn from the same generators. They are drawn before an epoch begins, so that a
CUDA graph finds its batch by index, and crop and flip are a single gather of bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from senet.data import Source, Split
from senet.data.arrays import ArraySplit
from senet.data.transforms import generator
from senet.training.config import TrainConfig


@dataclass(frozen=True)
class Images:
    """A data set on the device.

    Attributes:
        source: the data set, on the processor.
        train: uint8 ``[n, H + 2p, W + 2p, C]``, padded with black by the p of the recipe.
        labels: int64 ``[n]``.
        test: float32 ``[m, C, H, W]``, normalised, channels last.
        test_labels: int64 ``[m]``.
        scale: ``[C]``; with ``shift`` it normalises pixels in 0 … 255.
        shift: ``[C]``.
    """

    source: Source
    train: Tensor
    labels: Tensor
    test: Tensor
    test_labels: Tensor
    scale: Tensor
    shift: Tensor

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return images ``[B, C, H, W]`` as the network takes them, and labels ``[B]``.

        ``chosen`` is ``[4, B]``: index of the image, shift down, shift right, whether mirrored.
        """
        row, top, left, mirrored = chosen
        side = torch.arange(self.test.shape[-1], device=chosen.device)
        x = torch.where(mirrored[:, None] > 0, side.flip(0), side) + left[:, None]
        y = side + top[:, None]
        pixels = self.train[row[:, None, None], y[:, :, None], x[:, None, :]]
        return _normalised(pixels, self.scale, self.shift), self.labels[row]


def on_device(source: Source, padding: int, device: torch.device) -> Images:
    """Move a data set to a device, its training images padded by so many pixels."""
    p = source.preprocessing
    scale, shift = torch.tensor(
        [[1 / (255 * s) for s in p.std], [-m / s for m, s in zip(p.mean, p.std, strict=True)]]
    ).to(device)
    padded = F.pad(_array(source.train), (padding,) * 4)
    return Images(
        source=source,
        train=padded.permute(0, 2, 3, 1).contiguous().to(device),
        labels=torch.from_numpy(source.train.labels).to(device),
        test=_normalised(_array(source.test).permute(0, 2, 3, 1).to(device), scale, shift),
        test_labels=torch.from_numpy(source.test.labels).to(device),
        scale=scale,
        shift=shift,
    )


def _array(split: Split) -> Tensor:
    if isinstance(split, ArraySplit):
        return split.images
    return torch.stack([image for image, _ in split])


def _normalised(pixels: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return uint8 ``[B, H, W, C]`` as float32 ``[B, C, H, W]`` in the same memory layout."""
    return pixels.float().mul_(scale).add_(shift).permute(0, 3, 1, 2)


def batches(config: TrainConfig, images: int, epoch: int) -> Tensor:
    """Return every batch of an epoch, int64 ``[steps, 4, B]``; see :meth:`Images.batch`.

    Example:
        >>> config = TrainConfig(batch_size=2, crop_padding=4, flip=True)
        >>> batches(config, 5, epoch=0).shape
        torch.Size([2, 4, 2])
    """
    B, p = config.batch_size, config.crop_padding
    order = torch.randperm(images, generator=generator(config.seed, epoch))
    steps = images // B
    found = torch.zeros(steps, 4, B, dtype=torch.int64)
    for step in range(steps):
        chances = generator(config.seed, epoch * steps + step)
        found[step, 0] = order[step * B : (step + 1) * B]
        if p:
            found[step, 1:3] = torch.randint(2 * p + 1, (2, B), generator=chances)
        if config.flip:
            found[step, 3] = torch.rand(B, generator=chances) < 0.5
    return found
