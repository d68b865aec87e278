"""The first ShuffleNet, with and without squeeze-and-excitation.

Zhang, Zhou, Lin and Sun, arXiv 1707.01083, Table 1 and Figure 2. Its 1×1 convolutions are grouped,
so that they cost little; the shuffle between them lets the groups see each other.

SE comes at the end of the residual branch, after its last batch norm and before the branch meets
the shortcut, as in the residual networks (Figure 3 of arXiv 1709.01507v4): before the addition, and
in the units that halve the map before the concatenation. This gives the counts of the paper's
Table 3: 1.8 M parameters without SE, 2.4 M with (1.87 and 2.49, truncated, not rounded; after the
concatenation it would be 2.59). The place is :class:`ShuffleUnit`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from senet.models.attention import Attend
from senet.models.initialise import draw_seed, initialise
from senet.models.network import Network
from senet.models.registry import register_twins
from senet.models.rename import rename
from senet.nn import ConvNormAct
from senet.preprocessing import IMAGENET

GROUPS = 3
STEM = 24
STAGES = ((240, 4), (480, 8), (960, 4))
"""Channels and units of the paper's Stage2, Stage3 and Stage4, for three groups."""


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Move channel c of group g to channel g of group c: section 3.1 of the paper.

    Args:
        x: a feature map ``[B, C, H, W]``.
        groups: number of groups of its channels; it divides C.

    Returns:
        The map with its channels in another order, ``[B, C, H, W]``.

    Example:
        >>> shuffle(torch.arange(6).reshape(1, 6, 1, 1), groups=3).flatten().tolist()
        [0, 2, 4, 1, 3, 5]
    """
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class ShuffleUnit(nn.Module):
    """1×1 in groups, shuffle, depthwise 3×3, 1×1 in groups: Figure 2b, or 2c at stride 2.

    Args:
        inputs: channels of the input.
        outputs: channels of the output; at stride 2 ``inputs`` of them are the shortcut's.
        stride: 1 or 2.
        grouped: whether the first 1×1 has groups; not where each would see too few channels.
        stage: stage that the unit is in, counted as the SE paper does.
        se: a function that makes the block of attention.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, grouped: bool, stage: int, se: Attend | None
    ) -> None:
        super().__init__()
        inner = outputs // 4
        branch = outputs - inputs if stride > 1 else outputs
        self.groups = GROUPS
        self.compress = ConvNormAct(inputs, inner, groups=GROUPS if grouped else 1)
        self.depthwise = ConvNormAct(inner, inner, 3, stride, groups=inner, activation=None)
        self.expand = ConvNormAct(inner, branch, groups=GROUPS, activation=None)
        self.se = None if se is None else se(branch, stage)
        self.relu = nn.ReLU()
        self.downsample = None if stride == 1 else nn.AvgPool2d(3, 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        u = self.expand(self.depthwise(shuffle(self.compress(x), self.groups)))
        u = u if self.se is None else self.se(u)
        if self.downsample is None:
            return self.relu(u + x)
        # The paper's ReLU after the concatenation would find nothing negative in the average. It
        # does not say which comes first; in pytorchcv's trained weights it is the branch.
        return torch.cat((self.relu(u), self.downsample(x)), 1)


class ShuffleNet(Network):
    """A 3×3 convolution, a pooling, sixteen shuffle units, a linear classifier.

    The names of the stages are the paper's, and their numbers are the levels of a feature pyramid:
    ``stage2`` is level 2, at stride 8. ``stage1`` is the pooling alone, and has no attention.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image.
        width: multiplier of the channels, the paper's s: 0.25, 0.5, 1, 1.5 or 2 there. Those of
            the stem grow in whole steps only, 12, 24, 48, or the paper's multiply-adds would not
            come out.
        se: a function that makes the blocks of attention; ``None`` for the plain network.

    Shape:
        ``[B, in_channels, H, W]`` to logits ``[B, num_classes]``.

    Raises:
        ValueError: if ``width`` is out of range.
    """

    stages = ("stage1", "stage2", "stage3", "stage4")

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        se: Attend | None = None,
    ) -> None:
        super().__init__()
        seed = draw_seed()
        if width <= 0 or width % 0.25:
            raise ValueError(
                f"width must be a multiple of 0.25, so that {GROUPS} groups divide the channels, "
                f"got {width}"
            )
        channels = STEM * int(width) or STEM // 2
        self.conv1 = ConvNormAct(in_channels, channels, 3, stride=2)
        self.stage1 = nn.Sequential(nn.MaxPool2d(3, 2, padding=1))
        for number, (outputs, units) in enumerate(STAGES, start=2):
            outputs = round(outputs * width)
            stage = nn.Sequential()
            for i in range(units):
                stride, grouped = 1 if i else 2, bool(i) or number > 2
                stage.append(ShuffleUnit(channels, outputs, stride, grouped, number + 1, se))
                channels = outputs
            self.add_module(f"stage{number}", stage)
        self.make_head(channels, num_classes)
        initialise(self, seed)

    def stem(self, x: Tensor) -> Tensor:
        return self.conv1(x)

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return super().translate(rename(state, _NAMES_ELSEWHERE))


# pytorchcv's names.
_NAMES_ELSEWHERE = (
    (r"^module\.", ""),
    (r"^features\.init_block\.", "conv1."),
    *(
        (rf"^features\.stage{stage}\.unit{unit}\.", f"stage{stage + 1}.{unit - 1}.")
        for stage, (_, units) in enumerate(STAGES, start=1)
        for unit in range(1, units + 1)
    ),
    (r"\.compress_(conv|bn)1\.", r".compress.\1."),
    (r"\.dw_(conv|bn)2\.", r".depthwise.\1."),
    (r"\.expand_(conv|bn)3\.", r".expand.\1."),
    (r"^output\.", "fc."),
)

register_twins("shufflenet_g3", ShuffleNet, IMAGENET, num_classes=1000)
