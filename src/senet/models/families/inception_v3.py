"""Inception-v3, with and without squeeze-and-excitation.

Szegedy et al., arXiv 1512.00567, Table 1 and Figures 5, 6 and 7, with the numbers that the authors
published in TensorFlow and that torchvision and timm have too. The auxiliary classifier, which
helps only in training, is left out: ``translate`` drops its weights.

:mod:`senet.models.families.inception` says where SE goes. The SE paper has no SE-Inception-v3; ours
follows its SE-BN-Inception.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from senet.models.attention import Attend
from senet.models.families.inception import Conv, InceptionNetwork, Layer
from senet.models.registry import register_twins
from senet.models.rename import rename
from senet.preprocessing import Preprocessing

MAX = partial(nn.MaxPool2d, 3, 2)
AVERAGE = partial(nn.AvgPool2d, 3, 1, padding=1)

STEM: tuple[dict[str, Layer], ...] = (
    {"1a": Conv(32, 3, stride=2, padding=0), "2a": Conv(32, 3, padding=0), "2b": Conv(64, 3)},
    {"pool": MAX, "3b": Conv(80), "4a": Conv(192, 3, padding=0)},
)
"""Stages 1 and 2, which Inception-ResNet-v2 has too."""


def _figure5(pool: int) -> dict[str, Sequence[Layer]]:
    return {
        "1x1": [Conv(64)],
        "5x5": [Conv(48), Conv(64, 5)],
        "3x3dbl": [Conv(64), Conv(96, 3), Conv(96, 3)],
        "pool": [AVERAGE, Conv(pool)],
    }


def _figure6(inner: int) -> dict[str, Sequence[Layer]]:
    wide, high = Conv(inner, (1, 7)), Conv(inner, (7, 1))
    return {
        "1x1": [Conv(192)],
        "7x7": [Conv(inner), wide, Conv(192, (7, 1))],
        "7x7dbl": [Conv(inner), high, wide, high, Conv(192, (1, 7))],
        "pool": [AVERAGE, Conv(192)],
    }


_SPREAD: dict[str, Sequence[Layer]] = {"1x3": [Conv(384, (1, 3))], "3x1": [Conv(384, (3, 1))]}


def _figure7() -> dict[str, Sequence[Layer]]:
    return {
        "1x1": [Conv(320)],
        "3x3": [Conv(384), _SPREAD],
        "3x3dbl": [Conv(448), Conv(384, 3), _SPREAD],
        "pool": [AVERAGE, Conv(192)],
    }


STAGES: tuple[dict[str, Layer], ...] = (
    *STEM,
    {"pool": MAX, "5b": _figure5(32), "5c": _figure5(64), "5d": _figure5(64)},
    {
        "6a": {
            "3x3": [Conv(384, 3, stride=2, padding=0)],
            "3x3dbl": [Conv(64), Conv(96, 3), Conv(96, 3, stride=2, padding=0)],
            "pool": [MAX],
        },
        "6b": _figure6(128),
        "6c": _figure6(160),
        "6d": _figure6(160),
        "6e": _figure6(192),
    },
    {
        "7a": {
            "3x3": [Conv(192), Conv(320, 3, stride=2, padding=0)],
            "7x7x3": [
                Conv(192), Conv(192, (1, 7)), Conv(192, (7, 1)),
                Conv(192, 3, stride=2, padding=0),
            ],
            "pool": [MAX],
        },
        "7b": _figure7(),
        "7c": _figure7(),
    },
)  # fmt: skip
"""The stages, counted as the SE paper does, and the names of the authors' modules."""


class InceptionV3(InceptionNetwork):
    """Five convolutions, two poolings, eleven Inception modules, a linear classifier.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image.
        dropout: share of the pooled features that training drops. The authors' program has 0.2,
            torchvision 0.5.
        se: a function that makes the blocks of attention; ``None`` for the plain network.

    Shape:
        ``[B, in_channels, H, W]`` to logits ``[B, num_classes]``. H and W are at least 75.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
        se: Attend | None = None,
    ) -> None:
        super().__init__(STAGES, 1e-3, num_classes, in_channels, dropout, se)

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        state = rename(super().translate(state), _names_elsewhere())
        return {name: value for name, value in state.items() if not name.startswith("AuxLogits.")}


def _names_elsewhere() -> Iterator[tuple[str, str]]:
    """Yield torchvision's and timm's names: layers of a branch count from 1, ``branch3x3dbl_2``."""
    yield r"^Conv2d_(1a|2a|2b)_\dx\d\.", r"stage1.\1."
    yield r"^Conv2d_(3b|4a)_\dx\d\.", r"stage2.\1."
    for number, stage in ((5, 3), (6, 4), (7, 5)):
        yield rf"^Mixed_{number}", f"stage{stage}.{number}"
    yield r"\.branch(1x1|3x3)\.", r".branches.\1.0."
    yield r"\.branch_pool\.", ".branches.pool.1."
    for i in range(5):
        yield rf"\.branch(\w+)_{i + 1}\.", rf".branches.\1.{i}."
        yield rf"\.branch(\w+)_{i + 1}a\.", rf".branches.\1.{i}.1x3.0."
        yield rf"\.branch(\w+)_{i + 1}b\.", rf".branches.\1.{i}.3x1.0."


# For all published weights: torchvision's network itself converts other inputs to these.
PREPROCESSING = Preprocessing(
    size=299, mean=(0.5,) * 3, std=(0.5,) * 3, crop=0.875, interpolation="bicubic"
)

register_twins("inception_v3", InceptionV3, PREPROCESSING, num_classes=1000)
