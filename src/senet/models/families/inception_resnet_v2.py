"""Inception-ResNet-v2, with and without squeeze-and-excitation.

Szegedy, Ioffe, Vanhoucke and Alemi, arXiv 1602.07261: Inception modules as residual branches, whose
results are scaled down before they are added (section 3.3). The numbers are those of the network
that the authors published in TensorFlow and timm has too; they differ from the paper's figures.

SE comes at the end of each residual branch, after its last convolution and before the scaling and
the addition, as in the residual networks (Figure 3 of arXiv 1709.01507v4): the place is
:class:`Residual`. The three modules without a shortcut are Inception modules, and have it after
their concatenation (Figure 2): see :mod:`senet.models.families.inception`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from senet.models.attention import Attend
from senet.models.families import inception_v3
from senet.models.families.inception import Branches, Conv, InceptionNetwork, Layer
from senet.models.registry import register_twins
from senet.models.rename import rename

MAX = partial(nn.MaxPool2d, 3, 2)
AVERAGE = partial(nn.AvgPool2d, 3, 1, padding=1, count_include_pad=False)


@dataclass(frozen=True)
class Branch:
    """A residual branch: its table, the scale of its output, and whether a ReLU follows the sum."""

    branches: Mapping[str, Sequence[Layer]]
    scale: float
    relu: bool = True


BLOCK35 = Branch(
    {
        "1x1": [Conv(32)],
        "3x3": [Conv(32), Conv(32, 3)],
        "3x3dbl": [Conv(32), Conv(48, 3), Conv(64, 3)],
    },
    scale=0.17,
)
BLOCK17 = Branch(
    {"1x1": [Conv(192)], "7x7": [Conv(128), Conv(160, (1, 7)), Conv(192, (7, 1))]},
    scale=0.1,
)
BLOCK8 = Branch(
    {"1x1": [Conv(192)], "3x3": [Conv(192), Conv(224, (1, 3)), Conv(256, (3, 1))]},
    scale=0.2,
)

STAGES: tuple[dict[str, Any], ...] = (
    *inception_v3.STEM,
    {
        "pool": MAX,
        "5b": {
            "1x1": [Conv(96)],
            "5x5": [Conv(48), Conv(64, 5)],
            "3x3dbl": [Conv(64), Conv(96, 3), Conv(96, 3)],
            "pool": [AVERAGE, Conv(64)],
        },
        **{f"block35_{i}": BLOCK35 for i in range(1, 11)},
    },
    {
        "6a": {
            "3x3": [Conv(384, 3, stride=2, padding=0)],
            "3x3dbl": [Conv(256), Conv(256, 3), Conv(384, 3, stride=2, padding=0)],
            "pool": [MAX],
        },
        **{f"block17_{i}": BLOCK17 for i in range(1, 21)},
    },
    {
        "7a": {
            "3x3a": [Conv(256), Conv(384, 3, stride=2, padding=0)],
            "3x3b": [Conv(256), Conv(288, 3, stride=2, padding=0)],
            "3x3dbl": [Conv(256), Conv(288, 3), Conv(320, 3, stride=2, padding=0)],
            "pool": [MAX],
        },
        **{f"block8_{i}": BLOCK8 for i in range(1, 10)},
        "block8_10": replace(BLOCK8, scale=1.0, relu=False),
        "7b": Conv(1536),
    },
)
"""The stages, counted as the SE paper does, and the names of the authors' modules."""


class Residual(nn.Module):
    """relu(x + scale · se(conv(branches(x)))): section 3.3 of the paper, and attention.

    The last convolution has a bias, and neither batch norm nor ReLU, as in the authors' program.

    Args:
        inputs: channels of the input and of the output.
        branch: the branch whose output is added.
        stage: stage that the block is in, counted as the SE paper does.
        se: a function that makes the block of attention.
        eps: epsilon of the batch norms.
    """

    def __init__(
        self, inputs: int, branch: Branch, stage: int, se: Attend | None, eps: float
    ) -> None:
        super().__init__()
        self.branches = Branches(inputs, branch.branches, eps)
        self.conv = nn.Conv2d(self.branches.outputs, inputs, 1)
        self.se = None if se is None else se(inputs, stage)
        self.scale = branch.scale
        self.relu = nn.ReLU() if branch.relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        u = self.conv(self.branches(x))
        if self.se is not None:
            u = self.se(u)
        return self.relu(x + self.scale * u)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class InceptionResNetV2(InceptionNetwork):
    """Six convolutions, two poolings, forty residual blocks, a linear classifier.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image.
        dropout: share of the pooled features that training drops; 0.2 in the paper (Figure 15).
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

    def block(
        self, layer: Any, inputs: int, stage: int, se: Attend | None, eps: float
    ) -> tuple[nn.Module, int]:
        if isinstance(layer, Branch):
            return Residual(inputs, layer, stage, se, eps), inputs
        return super().block(layer, inputs, stage, se, eps)

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return rename(super().translate(state), _names_elsewhere())


def _names_elsewhere() -> Iterator[tuple[str, str]]:
    """Yield timm's and Cadene's names: branches are numbered, in the order of the tables here."""
    yield r"^(classif|last_linear)\.", "fc."
    yield r"^conv2d_(1a|2a|2b)\.", r"stage1.\1."
    yield r"^conv2d_(3b|4a)\.", r"stage2.\1."
    yield r"^conv2d_7b\.", "stage5.7b."
    yield r"^block8\.", "repeat_2.9."
    for stage, layers in enumerate(STAGES, start=1):
        for name, layer in layers.items():
            kind, _, number = name.partition("_")
            ours = f"stage{stage}.{name}"
            theirs = rf"{_REPEATED[kind]}\.{int(number) - 1}" if number else f"mixed_{kind}"
            branches = layer.branches if isinstance(layer, Branch) else layer
            if isinstance(branches, Mapping):
                for i, branch in enumerate(branches):
                    yield rf"^{theirs}\.branch{i}\.", f"{ours}.branches.{branch}."
                yield rf"^{theirs}\.conv2d\.", f"{ours}.conv."
    yield r"\.branches\.(\w+)\.(conv|bn)\.", r".branches.\1.0.\2."


_REPEATED = {"block35": "repeat", "block17": "repeat_1", "block8": "repeat_2"}

PREPROCESSING = replace(inception_v3.PREPROCESSING, crop=0.8975)

register_twins("inception_resnet_v2", InceptionResNetV2, PREPROCESSING, num_classes=1000)
