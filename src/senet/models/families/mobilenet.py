"""The first MobileNet, with and without squeeze-and-excitation.

Howard et al., arXiv 1704.04861, Table 1: every convolution but the first is split into a depthwise
one, which mixes space, and a pointwise one, which mixes channels.

SE comes at the end of each such block, after the ReLU of its pointwise convolution: as in an
Inception module (section 3.3 of arXiv 1709.01507v4) the whole block is the transformation F_tr. The
paper does not name the place, but its counts show it: Table 3 has 4.2 M parameters without SE,
4.7 M with, and 569 M and 572 M multiply-adds. SE after the pointwise convolutions alone gives
4.72 M and 571.9 M (with the additions of the squeeze, which the paper counts); after the depthwise
ones alone 4.59 M, and after both 5.07 M. The place is :class:`Separable`.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from senet.models.attention import Attend
from senet.models.initialise import draw_seed, initialise
from senet.models.network import Network
from senet.models.registry import register_twins
from senet.models.rename import rename
from senet.nn import ConvNormAct
from senet.preprocessing import IMAGENET

STAGES = (
    ((64, 1), (128, 2), (128, 1)),
    ((256, 2), (256, 1)),
    ((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    ((1024, 2), (1024, 1)),
)
"""Channels and stride of the blocks: Table 1 of the paper, whose last stride is misprinted as 2."""

ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6}


class Separable(nn.Module):
    """A depthwise 3×3 convolution, a pointwise one, and attention to their output."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, activation: str, stage: int, se: Attend | None
    ) -> None:
        super().__init__()
        act = ACTIVATIONS[activation]
        self.depthwise = ConvNormAct(inputs, inputs, 3, stride, groups=inputs, activation=act)
        self.pointwise = ConvNormAct(inputs, outputs, activation=act)
        self.se = None if se is None else se(outputs, stage)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pointwise(self.depthwise(x))
        return x if self.se is None else self.se(x)


class MobileNet(Network):
    """A 3×3 convolution, thirteen depthwise separable blocks, a linear classifier.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image.
        width: the paper's multiplier α of all channels: 1, 0.75, 0.5 or 0.25 there.
        activation: ``"relu"``, as in the paper, or ``"relu6"``, as in the published weights of
            TensorFlow and timm.
        se: a function that makes the blocks of attention; ``None`` for the plain network.

    Shape:
        ``[B, in_channels, H, W]`` to logits ``[B, num_classes]``.

    Raises:
        ValueError: if an option is out of range.
    """

    stages = ("layer1", "layer2", "layer3", "layer4")

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        activation: str = "relu",
        se: Attend | None = None,
    ) -> None:
        super().__init__()
        seed = draw_seed()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {tuple(ACTIVATIONS)}, got {activation!r}")
        channels = _widened(32, width)
        act = ACTIVATIONS[activation]
        self.conv1 = ConvNormAct(in_channels, channels, 3, stride=2, activation=act)
        for i, (name, blocks) in enumerate(zip(self.stages, STAGES, strict=True)):
            stage = nn.Sequential()
            for outputs, stride in blocks:
                outputs = _widened(outputs, width)
                stage.append(Separable(channels, outputs, stride, activation, i + 2, se))
                channels = outputs
            self.add_module(name, stage)
        self.make_head(channels, num_classes)
        initialise(self, seed)

    def stem(self, x: Tensor) -> Tensor:
        return self.conv1(x)

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return super().translate(rename(state, _NAMES_ELSEWHERE))


def _widened(channels: int, width: float) -> int:
    wide = round(channels * width)
    if wide < 1:
        raise ValueError(
            f"width={width} leaves no channel of {channels}: the paper's least is 0.25"
        )
    return wide


# timm's names; its first block is a stage of its own.
_NAMES_ELSEWHERE = (
    (r"^module\.", ""),
    (r"^conv_stem\.", "conv1.conv."),
    (r"^bn1\.", "conv1.bn."),
    (r"^blocks\.0\.0\.", "layer1.0."),
    (r"^blocks\.1\.0\.", "layer1.1."),
    (r"^blocks\.1\.1\.", "layer1.2."),
    (r"^blocks\.(\d)\.", r"layer\1."),
    (r"^(layer\d\.\d)\.conv_dw\.", r"\1.depthwise.conv."),
    (r"^(layer\d\.\d)\.bn1\.", r"\1.depthwise.bn."),
    (r"^(layer\d\.\d)\.conv_pw\.", r"\1.pointwise.conv."),
    (r"^(layer\d\.\d)\.bn2\.", r"\1.pointwise.bn."),
    (r"^classifier\.", "fc."),
)

register_twins("mobilenet", MobileNet, IMAGENET, num_classes=1000)
