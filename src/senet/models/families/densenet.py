"""DenseNet, with and without squeeze-and-excitation: an example of adding SE to a new family.

Huang, Liu, van der Maaten and Weinberger, arXiv 1608.06993, Table 1: every layer of a block takes
all feature maps that were made before it, and adds a few of its own.

The SE paper leaves this family out. The place for SE is found here as in its section 3.3:

1. Look for the transformation F_tr that the network repeats, and for what passes by unchanged. In a
   residual network the branch is F_tr, and the shortcut passes by. Here a dense layer is F_tr, and
   the older maps pass by.
2. Put SE at the end of F_tr, before its result meets what passes by. There each gate scales new
   maps, once, and the older maps stay as free of gates as a shortcut. (The alternative, gates on
   all maps after each block, would scale maps that later layers also read unscaled, and only four
   times in 121 layers.)
3. Call ``se(channels, stage)`` for a block with the channels that F_tr makes, keep it as ``se``,
   and skip it if it is ``None``. That is all: :class:`DenseLayer` does it in two lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from senet.models.attention import Attend
from senet.models.initialise import draw_seed, initialise
from senet.models.network import Network
from senet.models.registry import register_twins
from senet.models.rename import rename
from senet.nn import ConvNormAct
from senet.preprocessing import IMAGENET


class DenseLayer(nn.Module):
    """norm → ReLU → 1×1 → norm → ReLU → 3×3, and attention to the new maps.

    Args:
        inputs: channels of all earlier maps.
        growth: channels of the new maps; the 1×1 convolution makes four times as many.
        stage: stage that the layer is in, counted as the SE paper does.
        se: a function that makes the block of attention.

    Shape:
        ``[B, inputs, H, W]`` to ``[B, inputs + growth, H, W]``.
    """

    def __init__(self, inputs: int, growth: int, stage: int, se: Attend | None) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.se = None if se is None else se(growth, stage)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(self.relu1(self.norm1(x)))
        new = self.conv2(self.relu2(self.norm2(h)))
        if self.se is not None:
            new = self.se(new)
        return torch.cat((x, new), 1)


class Transition(nn.Module):
    """A transition between two blocks, which halves the channels and the side."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(inputs, inputs // 2, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(self.relu(self.norm(x))))


class DenseNet(Network):
    """A 7×7 convolution, a pooling, blocks of dense layers, a linear classifier.

    Args:
        layers: number of dense layers of each block.
        growth: channels that each layer adds, the paper's k; the stem has twice as many.
        num_classes: number of outputs.
        in_channels: channels of the image.
        se: a function that makes the blocks of attention; ``None`` for the plain network.

    Shape:
        ``[B, in_channels, H, W]`` to logits ``[B, num_classes]``.
    """

    def __init__(
        self,
        layers: Iterable[int],
        growth: int = 32,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        se: Attend | None = None,
    ) -> None:
        super().__init__()
        seed = draw_seed()
        channels = 2 * growth
        self.conv1 = ConvNormAct(in_channels, channels, 7, stride=2)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        layers = tuple(layers)
        self.stages = tuple(f"block{i + 1}" for i in range(len(layers)))
        for i, (name, count) in enumerate(zip(self.stages, layers, strict=True)):
            block = nn.Sequential()
            if i > 0:
                block.add_module("transition", Transition(channels))
                channels //= 2
            for j in range(count):
                block.add_module(f"layer{j + 1}", DenseLayer(channels, growth, i + 2, se))
                channels += growth
            self.add_module(name, block)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.make_head(channels, num_classes)
        initialise(self, seed)

    def stem(self, x: Tensor) -> Tensor:
        return self.maxpool(self.conv1(x))

    def finish(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(x))

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return super().translate(rename(state, _NAMES_ELSEWHERE))


# Names of torchvision and timm. Here a transition belongs to the block after it, so that a feature
# pyramid takes the whole map of a block.
_NAMES_ELSEWHERE = (
    (r"^(module\.)?features\.", ""),
    (r"^conv0\.", "conv1.conv."),
    (r"^norm0\.", "conv1.bn."),
    (r"^denseblock(\d)\.denselayer(\d+)\.", r"block\1.layer\2."),
    (r"^transition1\.", "block2.transition."),
    (r"^transition2\.", "block3.transition."),
    (r"^transition3\.", "block4.transition."),
    (r"\.(norm|conv)\.([12])\.", r".\1\2."),  # torchvision's published files
    (r"^norm5\.", "norm."),
    (r"^(module\.)?classifier\.", "fc."),
)

register_twins("densenet121", partial(DenseNet, layers=(6, 12, 24, 16)), IMAGENET, num_classes=1000)
