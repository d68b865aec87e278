"""The preprocessing of images: size, normalisation and crop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from senet.near import near

INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class Preprocessing:
    """The steps from an image to the input of a network; they travel with the weights.

    Attributes:
        size: side in pixels of the square that the network sees.
        mean: mean of each channel, for pixels in 0 … 1. Its length is the number of channels.
        std: standard deviation of each channel, likewise.
        crop: share of the resized shorter side that the centre crop keeps (ImageNet: 0.875).
        interpolation: ``"bilinear"`` or ``"bicubic"``, both with antialiasing.

    Raises:
        ValueError: if a field is out of range; the message names it.

    Example:
        >>> Preprocessing(size=28, mean=(0.286,), std=(0.353,)).channels
        1
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 1.0
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        # JSON has only lists; fields must stay hashable and comparable.
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        if self.size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {self.size}")
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(f"mean and std need one number per channel: {self.mean}, {self.std}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be in (0, 1], got {self.crop}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation must be one of {INTERPOLATIONS}, got {self.interpolation!r}"
            )

    def __str__(self) -> str:
        mean, std = (",".join(f"{value:.4g}" for value in one) for one in (self.mean, self.std))
        return f"mean={mean}, std={std}, size={self.size}"

    @property
    def channels(self) -> int:
        return len(self.mean)

    def of_channels(self, channels: int) -> Preprocessing:
        """Return the same preprocessing for ``channels`` channels, each with the known ones' mean.

        Example:
            >>> Preprocessing(32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2)).of_channels(1).mean
            (0.5,)
        """
        if channels == self.channels:
            return self
        return replace(self, mean=(fmean(self.mean),) * channels, std=(fmean(self.std),) * channels)


IMAGENET = Preprocessing(
    size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), crop=0.875
)
# The usual constants of CIFAR-10's 50,000 training images.
CIFAR = Preprocessing(size=32, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))

ASKED = "mean=0.485,0.456,0.406,std=0.229,0.224,0.225,size=224 or timm:NAME"
"""How a user says the preprocessing of weights that do not name theirs."""


def require_asked(text: str) -> None:
    """Refuse what neither names a network of timm nor :func:`read_asked` can read, by raising."""
    if not text.startswith("timm:"):
        read_asked(text)


def read_asked(text: str) -> dict[str, Any]:
    """Return the fields that ``mean=…,std=…,size=…`` names; one number may stand for all channels.

    Raises:
        ValueError: if it is something else, lacks mean or std, or a number is out of range.

    Example:
        >>> read_asked("mean=0.5,std=0.5,0.5,0.4,size=192")
        {'mean': (0.5,), 'std': (0.5, 0.5, 0.4), 'size': 192}
    """
    listed: dict[str, list[str]] = {}
    for piece in text.split(","):
        key, equals, value = (part.strip() for part in piece.rpartition("="))
        if equals and key in listed:
            raise _unlike(text, f"it names {key} twice")
        if equals:
            listed[key] = []
        if not listed:
            raise _unlike(text, "")
        listed[list(listed)[-1]].append(value)
    for key in listed:
        if key not in ("mean", "std", "size"):
            raise _unlike(text, f"there is no {key!r}", near(key, ("mean", "std", "size")))
    if "mean" not in listed or "std" not in listed:
        raise _unlike(text, "it needs mean and std")
    fields: dict[str, Any] = {key: _numbers(text, key, listed[key]) for key in ("mean", "std")}
    if "size" in listed:
        fields["size"] = _side(text, listed["size"])
    return fields


def _numbers(text: str, key: str, values: list[str]) -> tuple[float, ...]:
    try:
        numbers = tuple(map(float, values))
    except ValueError:
        raise _unlike(text, f"{key} must be numbers") from None
    if key == "std" and min(numbers) == 0:
        raise _unlike(text, "std must not be 0: images are divided by it")
    if not all(0 <= number <= 1 for number in numbers):
        raise _unlike(text, f"{key} is of pixels in 0 … 1: divide numbers for 0 … 255 by 255")
    return numbers


def _side(text: str, values: list[str]) -> int:
    if len(values) != 1 or not values[0].isdecimal() or int(values[0]) < 1:
        raise _unlike(text, "size must be one whole number of pixels")
    return int(values[0])


def _unlike(text: str, why: str, hint: str = "") -> ValueError:
    reason = f"{why}.{hint} " if why else ""
    return ValueError(f"preprocessing {text!r}: {reason}Write it as {ASKED}")


def as_asked(fields: Mapping[str, Any], usual: Preprocessing) -> Preprocessing:
    """Return ``usual`` with the fields that a user names.

    Raises:
        ValueError: if mean or std have another number of values than the images have channels.

    Example:
        >>> str(as_asked(read_asked("mean=0.5,std=0.25"), IMAGENET))
        'mean=0.5,0.5,0.5, std=0.25,0.25,0.25, size=224'
    """
    fields = dict(fields)
    for key in ("mean", "std"):
        if len(fields[key]) == 1:
            fields[key] *= usual.channels
        if len(fields[key]) != usual.channels:
            raise ValueError(
                f"preprocessing: {key} has {len(fields[key])} values, and the images of these "
                f"weights have {usual.channels} channels: give one value, or one for each"
            )
    return replace(usual, **fields)
