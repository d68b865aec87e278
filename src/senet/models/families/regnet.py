"""RegNetY-1.6GF, with SE, as published, and without.

Radosavovic et al., arXiv 2003.13678: residual bottlenecks that do not narrow, with grouped 3×3
convolutions, and widths and depths that follow a line. RegNetY is RegNetX with SE: after the 3×3
convolution, its batch norm and its ReLU, with a bottleneck of a quarter of the channels that come
into the block. The place is :class:`Bottleneck`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from senet.models.attention import Attend
from senet.models.initialise import draw_seed, initialise
from senet.models.network import Network
from senet.models.registry import register_twins
from senet.models.rename import rename
from senet.nn import ConvNormAct
from senet.preprocessing import IMAGENET

STEM = 32


class Bottleneck(nn.Module):
    """1×1, grouped 3×3, attention, 1×1, all of one width; and the shortcut: the paper's Y block.

    Args:
        inputs: channels of the input.
        width: channels of the output, and of those between.
        stride: stride of the 3×3 convolution.
        group_width: channels of a group of the 3×3 convolution.
        stage: stage that the block is in, counted as the SE paper does.
        se: a function that makes the block of attention.
    """

    def __init__(
        self, inputs: int, width: int, stride: int, group_width: int, stage: int, se: Attend | None
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(inputs, width)
        self.conv2 = ConvNormAct(width, width, 3, stride, groups=width // group_width)
        self.se = None if se is None else se(width, stage, squeeze_channels=inputs // 4)
        self.conv3 = ConvNormAct(width, width, activation=None)
        self.downsample = None
        if stride > 1 or inputs != width:
            self.downsample = ConvNormAct(inputs, width, stride=stride, activation=None)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        u = self.conv2(self.conv1(x))
        u = u if self.se is None else self.se(u)
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.conv3(u) + shortcut)


class RegNet(Network):
    """A 3×3 convolution, four stages of bottlenecks, a linear classifier.

    Args:
        layers: number of blocks of each stage.
        widths: channels of each stage.
        group_width: channels of a group of the 3×3 convolutions; must divide the widths.
        num_classes: number of outputs.
        in_channels: channels of the image.
        se: a function that makes the blocks of attention; ``None`` for the network without SE,
            whose block is RegNetX's.

    Shape:
        ``[B, in_channels, H, W]`` to logits ``[B, num_classes]``.

    Raises:
        ValueError: if ``layers`` and ``widths`` name different stages, or groups are unequal.
    """

    def __init__(
        self,
        layers: Iterable[int],
        widths: Iterable[int],
        group_width: int,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        se: Attend | None = None,
    ) -> None:
        super().__init__()
        seed = draw_seed()
        layers, widths = tuple(layers), tuple(widths)
        if len(layers) != len(widths) or min(layers) < 1:
            raise ValueError(f"layers={layers} and widths={widths} must name the same stages")
        if any(width % group_width for width in widths):
            raise ValueError(f"widths={widths} must be multiples of group_width={group_width}")
        channels = STEM
        self.conv1 = ConvNormAct(in_channels, channels, 3, stride=2)
        self.stages = tuple(f"layer{i + 1}" for i in range(len(layers)))
        for i, (name, blocks, width) in enumerate(zip(self.stages, layers, widths, strict=True)):
            stage = nn.Sequential()
            for j in range(blocks):
                stride = 1 if j else 2
                stage.append(Bottleneck(channels, width, stride, group_width, i + 2, se))
                channels = width
            self.add_module(name, stage)
        self.make_head(channels, num_classes)
        initialise(self, seed)

    def stem(self, x: Tensor) -> Tensor:
        return self.conv1(x)

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        state = rename(super().translate(state), _NAMES_ELSEWHERE)
        # timm counts blocks from 1.
        return {_TIMM_BLOCK.sub(_from_zero, name): value for name, value in state.items()}


_TIMM_BLOCK = re.compile(r"^s(\d)\.b(\d+)\.")


def _from_zero(match: re.Match[str]) -> str:
    return f"layer{match[1]}.{int(match[2]) - 1}."


_NAMES_ELSEWHERE = (
    # timm's names
    (r"^stem\.(conv|bn)\.", r"conv1.\1."),
    (r"^head\.fc\.", "fc."),
    # torchvision's names
    (r"^stem\.", "conv1."),
    (r"^trunk_output\.block(\d)\.block\d-(\d+)\.", r"layer\1.\2."),
    (r"\.proj\.", ".downsample."),
    (r"\.f\.a\.", ".conv1."),
    (r"\.f\.b\.", ".conv2."),
    (r"\.f\.se\.", ".se."),
    (r"\.f\.c\.", ".conv3."),
    (r"^(conv1|layer.*\.(?:conv[123]|downsample))\.0\.", r"\1.conv."),
    (r"^(conv1|layer.*\.(?:conv[123]|downsample))\.1\.", r"\1.bn."),
)

# From a depth of 27, w_0 = 48, w_a = 20.7, w_m = 2.65: equations 2 to 4 of the paper.
REGNET_016: dict[str, Any] = {
    "layers": (2, 6, 17, 2), "widths": (48, 120, 336, 888), "group_width": 24,
}  # fmt: skip

register_twins("regnety_016_no_se", partial(RegNet, **REGNET_016), IMAGENET, 1000, se="regnety_016")
