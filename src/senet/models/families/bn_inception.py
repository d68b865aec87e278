"""BN-Inception, with and without squeeze-and-excitation.

Ioffe and Szegedy, arXiv 1502.03167, Figure 5, as the authors of the SE paper built it in Caffe:
this file follows their SE-BN-Inception.prototxt (github.com/hujie-frank/SENet), and leaves its SE
out of the plain network. It differs from the figure in the poolings of 4c, 4d and 4e, whose maps
have 128, 128 and 608 channels, and its convolutions have no biases, which the batch norms would
cancel. (Another Caffe network, of which Cadene published weights, has biases. ``translate`` moves
them into the norms' means, so that the outputs are the same.)

:mod:`senet.models.families.inception` says where SE goes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from torch import Tensor, fx, nn
from torch.nn import functional as F

from senet.models.attention import Attend
from senet.models.families.inception import Conv, InceptionNetwork, Layer
from senet.models.registry import register_twins
from senet.models.rename import rename
from senet.preprocessing import IMAGENET


class CornerPool(nn.MaxPool2d):
    """Max pooling of 3×3 windows at stride 2, from the map's corner to beyond its far edge.

    Caffe does the same at even sizes. At odd sizes there is one window more than in Caffe, to make
    as many rows, ceil(H / 2), as the strided convolutions beside it.

    Example:
        >>> import torch
        >>> CornerPool()(torch.arange(25.0).reshape(1, 1, 5, 5))[0, 0]
        tensor([[12., 14., 14.],
                [22., 24., 24.],
                [22., 24., 24.]])
    """

    def __init__(self) -> None:
        super().__init__(3, 2, ceil_mode=True)

    def forward(self, input: Tensor) -> Tensor:
        return F.max_pool2d(_even(input), 3, 2, ceil_mode=True)


fx.wrap("_even")  # it looks at the size of the feature map


def _even(x: Tensor) -> Tensor:
    """Return the feature map with one more row or column where their number is odd."""
    rows, columns = x.shape[2] % 2, x.shape[3] % 2
    if rows + columns > 0:
        x = F.pad(x, (0, columns, 0, rows), value=-math.inf)
    return x


MAX = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
MAX_AS_IT_IS = partial(nn.MaxPool2d, 3, 1, padding=1)
AVERAGE = partial(nn.AvgPool2d, 3, 1, padding=1)


def _module(
    one: int, three: tuple[int, int], double: tuple[int, int], pool: int, average: bool = True
) -> dict[str, Sequence[Layer]]:
    """Return a module from the columns of Figure 5: #1×1, #3×3 reduce, #3×3, double, pool proj."""
    return {
        "1x1": [Conv(one)],
        "3x3": [Conv(three[0]), Conv(three[1], 3)],
        "double3x3": [Conv(double[0]), Conv(double[1], 3), Conv(double[1], 3)],
        "pool": [AVERAGE if average else MAX_AS_IT_IS, Conv(pool)],
    }


def _halving(three: tuple[int, int], double: tuple[int, int]) -> dict[str, Sequence[Layer]]:
    """Return a module of stride 2: no 1×1, and the pooled map is concatenated as it is."""
    return {
        "3x3": [Conv(three[0]), Conv(three[1], 3, stride=2)],
        "double3x3": [Conv(double[0]), Conv(double[1], 3), Conv(double[1], 3, stride=2)],
        "pool": [CornerPool],
    }


STAGES: tuple[dict[str, Layer], ...] = (
    {"conv1": Conv(64, 7, stride=2)},
    {"pool": MAX, "reduce": Conv(64), "conv2": Conv(192, 3)},
    {
        "pool": MAX,
        "3a": _module(64, (64, 64), (64, 96), 32),
        "3b": _module(64, (64, 96), (64, 96), 64),
    },
    {
        "3c": _halving((128, 160), (64, 96)),
        "4a": _module(224, (64, 96), (96, 128), 128),
        "4b": _module(192, (96, 128), (96, 128), 128),
        "4c": _module(160, (128, 160), (128, 160), 128),
        "4d": _module(96, (128, 192), (160, 192), 128),
    },
    {
        "4e": _halving((128, 192), (192, 256)),
        "5a": _module(352, (192, 320), (160, 224), 128),
        "5b": _module(352, (192, 320), (192, 224), 128, average=False),
    },
)
"""The stages, counted as the SE paper does: a module that halves the map opens the next."""


class BNInception(InceptionNetwork):
    """Three convolutions, two poolings, ten Inception modules, a linear classifier.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image.
        se: a function that makes the blocks of attention; ``None`` for the plain network.

    Shape:
        ``[B, in_channels, H, W]`` to logits ``[B, num_classes]``.
    """

    def __init__(
        self, *, num_classes: int = 1000, in_channels: int = 3, se: Attend | None = None
    ) -> None:
        super().__init__(STAGES, 1e-5, num_classes, in_channels, 0.0, se)

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return _without_biases(rename(super().translate(state), _names_elsewhere()))


def _without_biases(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Move biases of convolutions into the norms after them: (x + b) - mean = x - (mean - b)."""
    moved = {}
    for name, value in state.items():
        bias = name.replace(".bn.running_mean", ".conv.bias")
        if bias != name and bias in state:
            value = value - state[bias]
        if not name.endswith(".conv.bias"):
            moved[name] = value
    return moved


def _names_elsewhere() -> Iterator[tuple[str, str]]:
    """Yield Cadene's names, which are those of Caffe's layers with the module's number in front."""
    yield r"^last_linear\.", "fc."
    yield r"_bn\.", "/bn."
    yield r"^((conv[12]|inception)_[^/.]*)\.", r"\1/conv."
    yield r"^conv1_7x7_s2/", "stage1.conv1."
    yield r"^conv2_3x3_reduce/", "stage2.reduce."
    yield r"^conv2_3x3/", "stage2.conv2."
    yield r"^inception_(\w\w)_1x1/", r"\1.branches.1x1.0."
    yield r"^inception_(\w\w)_3x3_reduce/", r"\1.branches.3x3.0."
    yield r"^inception_(\w\w)_3x3/", r"\1.branches.3x3.1."
    yield r"^inception_(\w\w)_double_3x3_reduce/", r"\1.branches.double3x3.0."
    yield r"^inception_(\w\w)_double_3x3_([12])/", r"\1.branches.double3x3.\2."
    yield r"^inception_(\w\w)_pool_proj/", r"\1.branches.pool.1."
    for number, stage in enumerate(STAGES, start=1):
        for module in stage:
            if module[0].isdigit():
                yield rf"^{module}\.", f"stage{number}.{module}."


register_twins("bn_inception", BNInception, IMAGENET, num_classes=1000)
