"""VGG-16 with batch norm, with and without squeeze-and-excitation.

Simonyan and Zisserman, arXiv 1409.1556, configuration D; the batch norm after each convolution is
what the authors of the SE paper added to train it from scratch (arXiv 1709.01507v4, section 5.1).

SE comes after the ReLU of every convolution, all thirteen: section 3.3 of the SE paper says so for
VGG by name. In a chain of layers there is no branch whose end could be gated, so a convolution
with its ReLU is the transformation F_tr. The place is :class:`Convolution`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from senet.models.attention import Attend
from senet.models.initialise import draw_seed, initialise
from senet.models.network import Network
from senet.models.registry import register_twins
from senet.models.rename import rename
from senet.preprocessing import IMAGENET

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Number of convolutions before each of the five poolings."""
WIDTHS = (64, 128, 256, 512, 512)
_HIDDEN, _SIDE = 4096, 7


class Convolution(nn.Module):
    """A 3×3 convolution, its batch norm, ReLU, and attention to their output."""

    def __init__(self, inputs: int, outputs: int, stage: int, se: Attend | None) -> None:
        super().__init__()
        # The batch norm cancels this bias. Published state dicts have it, so it is here.
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.se = None if se is None else se(outputs, stage)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.conv(x)))
        return x if self.se is None else self.se(x)


class VGG16(Network):
    """Thirteen 3×3 convolutions, a pooling after each group of them, three linear layers.

    Nothing shrinks the image before the first convolutions, so these, ``conv1``, are the stem, at
    stride 1, and level k of a feature pyramid is the map before pooling k + 1, at stride 2^k:
    level 4 is conv5_3, the map of the first Faster R-CNN. For attention, ``conv1`` counts as
    stage 2.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image.
        dropout: share of the hidden features that training drops after each of ``fc6`` and ``fc7``.
        se: a function that makes the blocks of attention; ``None`` for the plain network.

    Shape:
        ``[B, in_channels, H, W]`` to logits ``[B, num_classes]``. H and W are at least 32. The last
        map is averaged to 7×7, which leaves the map of an image of 224×224 unchanged.
    """

    stages = ("conv2", "conv3", "conv4", "conv5")
    if TYPE_CHECKING:
        conv1: nn.Sequential

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
        se: Attend | None = None,
    ) -> None:
        super().__init__()
        seed = draw_seed()
        channels = in_channels
        for number, (count, width) in enumerate(zip(CONVOLUTIONS, WIDTHS, strict=True), start=1):
            group = nn.Sequential()
            if number > 1:
                group.add_module("pool", nn.MaxPool2d(2))
            for i in range(count):
                convolution = Convolution(channels, width, max(number, 2), se)
                group.add_module(str(i + 1), convolution)
                channels = width
            self.add_module(f"conv{number}", group)
        self.pool5 = nn.MaxPool2d(2)
        self.avgpool = nn.AdaptiveAvgPool2d(_SIDE)
        self.flatten = nn.Flatten()
        self.fc6 = nn.Linear(channels * _SIDE**2, _HIDDEN)
        self.relu6 = nn.ReLU()
        self.dropout6 = nn.Dropout(dropout)
        self.fc7 = nn.Linear(_HIDDEN, _HIDDEN)
        self.relu7 = nn.ReLU()
        self.dropout7 = nn.Dropout(dropout)
        self.fc = nn.Linear(_HIDDEN, num_classes)
        initialise(self, seed)

    def stem(self, x: Tensor) -> Tensor:
        return self.conv1(x)

    def finish(self, x: Tensor) -> Tensor:
        return self.pool5(x)

    def embed(self, x: Tensor) -> Tensor:
        x = self.flatten(self.avgpool(x))
        x = self.dropout6(self.relu6(self.fc6(x)))
        return self.dropout7(self.relu7(self.fc7(x)))

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        state = super().translate(rename(state, _names_elsewhere()))
        # In timm the hidden layers are convolutions: the first takes the 7×7 map whole.
        hidden = ("fc6.weight", "fc7.weight")
        return {
            name: value.flatten(1) if name in hidden else value for name, value in state.items()
        }


def _names_elsewhere() -> Iterator[tuple[str, str]]:
    """Yield torchvision's and timm's names, which number all layers: convolution, norm, ReLU, …"""
    index = 0
    for number, count in enumerate(CONVOLUTIONS, start=1):
        for i in range(count):
            yield rf"^(module\.)?features\.{index}\.", f"conv{number}.{i + 1}.conv."
            yield rf"^(module\.)?features\.{index + 1}\.", f"conv{number}.{i + 1}.bn."
            index += 3
        index += 1
    yield r"^(module\.)?(classifier\.0|pre_logits\.fc1)\.", "fc6."
    yield r"^(module\.)?(classifier\.3|pre_logits\.fc2)\.", "fc7."
    yield r"^(module\.)?(classifier\.6|head\.fc)\.", "fc."


register_twins("vgg16_bn", VGG16, IMAGENET, num_classes=1000)
