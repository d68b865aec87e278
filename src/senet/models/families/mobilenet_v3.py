"""MobileNetV3, large and small, with SE, as published, and without.

Howard et al., arXiv 1905.02244, Tables 1 and 2: inverted residuals, most of them with SE. Its
bottleneck is a quarter of the wide map's channels (section 5.3), its gate a hard sigmoid (Figure
4). :mod:`senet.models.families.inverted_residual` says where in a block SE goes, and the tables
below which blocks have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from senet.models.attention import Attend
from senet.models.families.inverted_residual import InvertedResidual, translate_blocks, unit_of
from senet.models.initialise import draw_seed, initialise
from senet.models.network import Network
from senet.models.registry import register_twins
from senet.models.rename import rename
from senet.preprocessing import IMAGENET

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "hardswish": nn.Hardswish}

Row = tuple[int, int, int, bool, str, int]
"""A row of the paper's tables: kernel, wide and narrow channels, SE, activation, stride."""


class MobileNetV3(Network):
    """A 3×3 convolution, inverted residuals, a 1×1 convolution, pooling, two linear layers.

    The first block of the large network keeps the size of the map; it is in ``layer1`` with the
    blocks that halve it, so that level k of a feature pyramid is at stride 2^(k + 1).

    Args:
        table: rows of the paper's Table 1 or 2, grouped by stage, see :data:`Row`.
        head: channels of the last convolution.
        hidden: outputs of the first linear layer.
        num_classes: number of outputs.
        in_channels: channels of the image.
        padding: ``"symmetric"``, or ``"same"`` as TensorFlow pads.
        eps: epsilon of the batch norms. The defaults fit timm's own weights
            (``mobilenetv3_small_100``, ``mobilenetv3_large_100``); torchvision's need ``eps=1e-3``,
            and TensorFlow's, Keras's and timm's ports of them (``tf_mobilenetv3_small_100`` …) need
            that and ``"same"``.
        dropout: share of the hidden features that training drops.
        se: a function that makes the blocks of attention; ``None`` for the network without SE.

    Shape:
        ``[B, in_channels, H, W]`` to logits ``[B, num_classes]``.

    Raises:
        ValueError: if the padding is unknown.
    """

    stages = ("layer1", "layer2", "layer3", "layer4")

    def __init__(
        self,
        table: Iterable[Iterable[Row]],
        head: int,
        hidden: int,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        padding: str = "symmetric",
        eps: float = 1e-5,
        dropout: float = 0.2,
        se: Attend | None = None,
    ) -> None:
        super().__init__()
        seed = draw_seed()
        unit, channels = unit_of(padding, eps), 16
        self.conv1 = unit(in_channels, channels, 3, stride=2, activation=nn.Hardswish)
        for stage, (name, rows) in enumerate(zip(self.stages, table, strict=True), start=2):
            layer = nn.Sequential()
            for kernel_size, wide, narrow, has_se, activation, stride in rows:
                make = ACTIVATIONS[activation]
                block = _attention(se, wide, stage) if has_se else None
                layer.append(
                    InvertedResidual(channels, wide, narrow, kernel_size, stride, make, block, unit)
                )
                channels = narrow
            self.add_module(name, layer)
        self.head = unit(channels, head, activation=nn.Hardswish)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(head, hidden)
        self.activation = nn.Hardswish()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(hidden, num_classes)
        initialise(self, seed)

    def stem(self, x: Tensor) -> Tensor:
        return self.conv1(x)

    def finish(self, x: Tensor) -> Tensor:
        return self.head(x)

    def embed(self, x: Tensor) -> Tensor:
        x = self.hidden(self.flatten(self.avgpool(x)))
        return self.dropout(self.activation(x))

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        depths = [tuple(map(len, variant["table"])) for variant in VARIANTS.values()]
        state = translate_blocks(super().translate(state), depths)
        return {
            # timm's first linear layer is a 1×1 convolution.
            name: value.flatten(1) if name == "hidden.weight" else value
            for name, value in rename(state, _CLASSIFIER_ELSEWHERE).items()
        }


def _attention(se: Attend | None, channels: int, stage: int) -> nn.Module | None:
    if se is None:
        return None
    return se(channels, stage, squeeze_channels=_eighths(channels / 4), gate="hardsigmoid")


def _eighths(channels: float) -> int:
    """Return the nearest multiple of 8, or the next if the nearest loses more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


_CLASSIFIER_ELSEWHERE = (
    (r"^(conv_head|classifier\.0)\.", "hidden."),
    (r"^classifier\.(3\.)?", "fc."),
)

VARIANTS: dict[str, dict[str, Any]] = {
    "mobilenet_v3_small": {
        "table": (
            ((3, 16, 16, True, "relu", 2),),
            (
                (3, 72, 24, False, "relu", 2),
                (3, 88, 24, False, "relu", 1),
            ),
            (
                (5, 96, 40, True, "hardswish", 2),
                (5, 240, 40, True, "hardswish", 1),
                (5, 240, 40, True, "hardswish", 1),
                (5, 120, 48, True, "hardswish", 1),
                (5, 144, 48, True, "hardswish", 1),
            ),
            (
                (5, 288, 96, True, "hardswish", 2),
                (5, 576, 96, True, "hardswish", 1),
                (5, 576, 96, True, "hardswish", 1),
            ),
        ),
        "head": 576,
        "hidden": 1024,
    },
    "mobilenet_v3_large": {
        "table": (
            (
                (3, 16, 16, False, "relu", 1),
                (3, 64, 24, False, "relu", 2),
                (3, 72, 24, False, "relu", 1),
            ),
            (
                (5, 72, 40, True, "relu", 2),
                (5, 120, 40, True, "relu", 1),
                (5, 120, 40, True, "relu", 1),
            ),
            (
                (3, 240, 80, False, "hardswish", 2),
                (3, 200, 80, False, "hardswish", 1),
                (3, 184, 80, False, "hardswish", 1),
                (3, 184, 80, False, "hardswish", 1),
                (3, 480, 112, True, "hardswish", 1),
                (3, 672, 112, True, "hardswish", 1),
            ),
            (
                (5, 672, 160, True, "hardswish", 2),
                (5, 960, 160, True, "hardswish", 1),
                (5, 960, 160, True, "hardswish", 1),
            ),
        ),
        "head": 960,
        "hidden": 1280,
    },
}

PREPROCESSING = replace(IMAGENET, interpolation="bicubic")  # of timm's weights

for _name, _variant in VARIANTS.items():
    register_twins(
        f"{_name}_no_se", partial(MobileNetV3, **_variant), PREPROCESSING, 1000, se=_name
    )
