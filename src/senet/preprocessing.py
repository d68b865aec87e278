"""The preprocessing of images: size, normalisation and crop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean

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
