"""Transforms of images before the network sees them, on uint8 tensors.

There are two kinds. *Per image*, for photos of all sizes, in the workers of a loader: a box is cut
out and resized to the square that the network sees. *Per batch*, for tensors ``[B, C, H, W]`` on
any device, at once for all images: shifts, flips, normalisation, MixUp and CutMix.

Everything random takes a :class:`torch.Generator`, and nothing else is random: two networks that
are compared see the same images when they are given generators of the same seed. Random numbers are
drawn where the generator lives and moved to the images, so that a generator on the CPU gives the
same batch on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from senet.data.decode import Picture
from senet.preprocessing import Preprocessing

# Inception's crops, as in every ImageNet recipe since (arXiv 1409.4842, section 6).
SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)

# A panorama is cut to this many times its shorter side before it is resized: a picture of one pixel
# by 65,000, resized whole, would fill the memory.
LONGEST = 16


def generator(*key: int) -> torch.Generator:
    """Return a CPU generator whose numbers depend on all of ``key``, such as (seed, epoch, step).

    Example:
        >>> torch.randperm(5, generator=generator(0, 1))
        tensor([0, 1, 3, 4, 2])
    """
    # With its length: to SeedSequence, (0,) and (0, 0) are the same.
    state = np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


# --- per image ------------------------------------------------------------------------------------


class Box(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


def resize(image: Tensor, height: int, width: int, interpolation: str = "bilinear") -> Tensor:
    """Resize ``[C, H, W]`` with antialiasing, as Pillow does (to a rounding)."""
    if image.shape[-2:] == (height, width):
        return image
    # Interleaved channels use the vectorised code, over ten times faster on a photo.
    batch = image[None].contiguous(memory_format=torch.channels_last)
    return F.interpolate(batch, (height, width), mode=interpolation, antialias=True)[0]


def random_box(
    height: int,
    width: int,
    generator: torch.Generator,
    scale: tuple[float, float] = SCALE,
    ratio: tuple[float, float] = RATIO,
) -> Box:
    """Return a box whose share of the area and whose width/height lie in the two ranges.

    The area is uniform, the ratio log-uniform. If none of ten draws fits into the image, it is the
    largest central box with an allowed ratio.
    """
    # A fixed count of numbers per image, whatever fits: the next image does not depend on this one.
    draws = torch.rand(10, 4, generator=generator, dtype=torch.float64).tolist()
    for area, aspect, down, right in draws:
        share = scale[0] + (scale[1] - scale[0]) * area
        shape = math.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * aspect)
        w = round(math.sqrt(height * width * share * shape))
        h = round(math.sqrt(height * width * share / shape))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(down * (height - h + 1)), int(right * (width - w + 1)), h, w)
    h = min(height, max(1, round(width / ratio[0])))
    w = min(width, max(1, round(height * ratio[1])))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def random_resized_crop(
    image: Tensor,
    size: int,
    generator: torch.Generator,
    scale: tuple[float, float] = SCALE,
    ratio: tuple[float, float] = RATIO,
    interpolation: str = "bilinear",
) -> Tensor:
    """Return a random box of ``[C, H, W]``, resized to ``[C, size, size]``: see :func:`random_box`.

    Example:
        >>> photo = torch.zeros(3, 480, 640, dtype=torch.uint8)
        >>> random_resized_crop(photo, 224, generator(0)).shape
        torch.Size([3, 224, 224])
    """
    return RandomResizedCrop(size, scale, ratio, interpolation)(Picture(image), generator)


def resize_shorter(image: Tensor, size: int, interpolation: str = "bilinear") -> Tensor:
    """Resize ``[C, H, W]`` to a shorter side of ``size`` pixels, keeping its shape.

    Only the middle is kept of an image longer than 16 times its width.
    """
    shorter = min(image.shape[-2:])
    image = centre_crop(image, *(min(side, LONGEST * shorter) for side in image.shape[-2:]))
    height, width = (size * side // shorter for side in image.shape[-2:])
    return resize(image, height, width, interpolation)


def centre_crop(image: Tensor, height: int, width: int) -> Tensor:
    """Return the middle of ``[C, H, W]``, which must be at least that large."""
    H, W = image.shape[-2:]
    assert height <= H, (image.shape, height)
    assert width <= W, (image.shape, width)
    top, left = round((H - height) / 2), round((W - width) / 2)
    return image[..., top : top + height, left : left + width]


@dataclass(frozen=True)
class RandomResizedCrop:
    """The training crop of photos: a random box, resized to a square of ``size`` pixels.

    It is called with a :class:`~senet.data.decode.Picture` and a generator. The box is chosen
    before the picture is decoded, and a large JPEG is then decoded only to twice what the box
    needs: the last halving is left to the antialiased resize.

    Attributes:
        size: side of the result in pixels.
        scale: range of the share of the area that is kept.
        ratio: range of width over height of the box.
        interpolation: ``"bilinear"`` or ``"bicubic"``.
    """

    size: int
    scale: tuple[float, float] = SCALE
    ratio: tuple[float, float] = RATIO
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be a range within (0, 1], got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio must be a range of positive numbers, got {self.ratio}")

    def __call__(self, picture: Picture, generator: torch.Generator) -> Tensor:
        box = random_box(picture.height, picture.width, generator, self.scale, self.ratio)
        pixels = picture.pixels(
            math.ceil(2 * self.size * picture.height / box.height),
            math.ceil(2 * self.size * picture.width / box.width),
        )
        top, bottom = _scaled(box.top, box.height, pixels.shape[-2] / picture.height)
        left, right = _scaled(box.left, box.width, pixels.shape[-1] / picture.width)
        return resize(pixels[:, top:bottom, left:right], self.size, self.size, self.interpolation)

    def keeps(self, height: int, width: int) -> bool:
        """Return whether images of this size come out as they went in: never."""
        return False


def _scaled(start: int, length: int, factor: float) -> tuple[int, int]:
    """Return a stretch of pixels in an image that was decoded ``factor`` times as large."""
    first = round(start * factor)
    return first, max(first + 1, round((start + length) * factor))


@dataclass(frozen=True)
class CentreCrop:
    """The evaluation crop: the shorter side to ``size / crop`` pixels, then the middle square.

    It is called with a :class:`~senet.data.decode.Picture`; the generator is not used. The picture
    is decoded whole, so that published accuracies are reproduced.

    Attributes:
        size: side of the result in pixels.
        crop: share of the resized shorter side that is kept.
        interpolation: ``"bilinear"`` or ``"bicubic"``.
    """

    size: int
    crop: float = 1.0
    interpolation: str = "bilinear"

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> CentreCrop:
        """Return the crop of a network's preprocessing."""
        return cls(preprocessing.size, preprocessing.crop, preprocessing.interpolation)

    @property
    def shorter(self) -> int:
        return math.floor(self.size / self.crop)

    def __call__(self, picture: Picture, generator: torch.Generator | None = None) -> Tensor:
        image = resize_shorter(picture.pixels(), self.shorter, self.interpolation)
        return centre_crop(image, self.size, self.size)

    def keeps(self, height: int, width: int) -> bool:
        """Return whether images of this size come out as they went in."""
        return height == width == self.shorter == self.size


# --- per batch ------------------------------------------------------------------------------------


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Shift every image of ``[B, C, H, W]`` by up to ``padding`` pixels, each by its own amount.

    This is the crop of the CIFAR recipes (arXiv 1512.03385, section 4.2): black is padded on each
    side, and a window of the old size is cut out anywhere.

    Example:
        >>> images = torch.arange(18, dtype=torch.uint8).reshape(2, 1, 3, 3)
        >>> random_crop(images, 1, generator(0))[0, 0]
        tensor([[0, 0, 0],
                [0, 1, 2],
                [3, 4, 5]], dtype=torch.uint8)
    """
    H, W = images.shape[-2:]
    shifts = (2, len(images))
    offsets = torch.randint(2 * padding + 1, shifts, generator=generator, device=generator.device)
    top, left = offsets.to(images.device)
    windows = F.pad(images, (padding,) * 4).unfold(2, H, 1).unfold(3, W, 1)  # a view: all of them
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def random_flip(images: Tensor, generator: torch.Generator, probability: float = 0.5) -> Tensor:
    """Mirror each image of ``[B, C, H, W]``, left to right, with the given probability."""
    chance = torch.rand(len(images), generator=generator, device=generator.device)
    mirrored = (chance < probability).to(images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def normalise(
    images: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
) -> Tensor:
    """Return (x / 255 − mean) / std of uint8 ``[B, C, H, W]``, as the network takes it.

    Args:
        images: pixels in 0 … 255.
        mean: one number per channel, for pixels in 0 … 1.
        std: likewise.
        dtype: floating type of the result.
        channels_last: write the result with its channels interleaved.

    Example:
        >>> normalise(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), (0.5,), (0.25,))
        tensor([[[[-2.,  2.]]]])
    """
    if images.shape[1] != len(mean):
        raise ValueError(f"images of {images.shape[1]} channels, but mean and std of {len(mean)}")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    scale = [1 / (255 * s) for s in std]
    shift = [-m / s for m, s in zip(mean, std, strict=True)]
    scale, shift = torch.tensor([scale, shift], device=images.device)[:, :, None, None]
    # In float32, since half types have no room for 255 levels around a mean, and in the layout of
    # the images: interleaved, three channels are too short a row for vector instructions.
    wide = images.to(torch.float32, copy=True).mul_(scale).add_(shift)
    return wide.to(dtype).contiguous(memory_format=layout)


def mixup(
    images: Tensor, labels: Tensor, classes: int, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Blend each image, and its label, with another of the batch: λ x + (1 − λ) x′, λ ~ Beta(α, α).

    This is MixUp (arXiv 1710.09412), with one λ per batch, as in its authors' code.

    Args:
        images: normalised, floating ``[B, C, H, W]``.
        labels: class numbers, int64 ``[B]``.
        classes: number of classes K.
        alpha: α > 0; 0.2 is the paper's choice for ImageNet.
        generator: source of λ and of the partners.

    Returns:
        The blended images and their labels as probabilities, ``[B, K]``.
    """
    if not images.is_floating_point():
        raise ValueError(
            f"mixup blends normalised images, got {images.dtype}; normalise them first"
        )
    share, partner = _beta(alpha, generator), _partners(images, generator)
    return torch.lerp(images[partner], images, share), _blend(labels, partner, classes, share)


def cutmix(
    images: Tensor, labels: Tensor, classes: int, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Paste a box of another image of the batch into each; labels are shared by area.

    This is CutMix (arXiv 1905.04899): the box has √(1 − λ) of both sides, λ ~ Beta(α, α), its
    centre is uniform, and λ is then computed anew from what lies inside the image. There is one box
    per batch, as in its authors' code.

    Args:
        images: ``[B, C, H, W]``, of any type.
        labels: class numbers, int64 ``[B]``.
        classes: number of classes K.
        alpha: α > 0; 1 is the paper's choice.
        generator: source of λ, of the box and of the partners.

    Returns:
        The pasted images and their labels as probabilities, ``[B, K]``.
    """
    H, W = images.shape[-2:]
    side = math.sqrt(1 - _beta(alpha, generator))
    partner = _partners(images, generator)
    centre = torch.rand(2, generator=generator, device=generator.device).tolist()
    top, bottom = _around(centre[0], side, H)
    left, right = _around(centre[1], side, W)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (H * W)
    return mixed, _blend(labels, partner, classes, share)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """Return one number from Beta(α, α); PyTorch's own beta takes no generator."""
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, got {alpha}; leave the mixing out instead of 0")
    seed = torch.randint(2**62, (), generator=generator, device=generator.device).item()
    return float(np.random.default_rng(int(seed)).beta(alpha, alpha))


def _partners(images: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(len(images), generator=generator, device=generator.device)
    return order.to(images.device)


def _around(centre: float, side: float, length: int) -> tuple[int, int]:
    """Return the stretch of ``side`` (a share) around ``centre`` (a share), cut at the borders."""
    half, middle = int(length * side) // 2, int(length * centre)
    return max(0, middle - half), min(length, middle + half)


def _blend(labels: Tensor, partner: Tensor, classes: int, share: float) -> Tensor:
    hard = F.one_hot(labels, classes).float()
    return share * hard + (1 - share) * hard[partner]
