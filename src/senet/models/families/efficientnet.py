"""EfficientNet-B0, with SE, as published, and without.

Tan and Le, arXiv 1905.11946, Table 1: inverted residuals ("MBConv"), all of them with SE, whose
bottleneck is a quarter of the channels that come into the block, and whose activation is SiLU
(swish) as everywhere in the network. :mod:`senet.models.families.inverted_residual` says where in a
block SE goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from senet.models.attention import Attend
from senet.models.families.inverted_residual import InvertedResidual, translate_blocks, unit_of
from senet.models.initialise import draw_seed, initialise
from senet.models.network import Network
from senet.models.registry import register_twins
from senet.models.rename import rename
from senet.preprocessing import IMAGENET

STAGES = (
    ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2)),
    ((6, 5, 2, 40, 2),),
    ((6, 3, 2, 80, 3), (6, 5, 1, 112, 3)),
    ((6, 5, 2, 192, 4), (6, 3, 1, 320, 1)),
)
"""Expansion, kernel, stride, channels and number of blocks: rows 2 to 8 of the paper's Table 1."""

STEM, HEAD = 32, 1280
BLOCKS = sum(row[-1] for rows in STAGES for row in rows)


class EfficientNet(Network):
    """A 3×3 convolution, sixteen inverted residuals, a 1×1 convolution, a linear classifier.

    The first block keeps the size of the map; it is in ``layer1`` with the blocks that halve it, so
    that level k of a feature pyramid is at stride 2^(k + 1).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the image.
        padding: ``"symmetric"``, or ``"same"`` as TensorFlow pads.
        eps: epsilon of the batch norms. The defaults fit the weights of timm (``efficientnet_b0``)
            and of torchvision; the authors' own, which timm has as ``tf_efficientnet_b0``, need
            ``padding="same"`` and ``eps=1e-3``.
        dropout: share of the pooled features that training drops.
        drop_path: probability that an image loses a residual branch in training; for block n of N,
            counted from 0, it is n/N times this. The paper has 0.2.
        se: a function that makes the blocks of attention; ``None`` for the network without SE.

    Shape:
        ``[B, in_channels, H, W]`` to logits ``[B, num_classes]``.

    Raises:
        ValueError: if ``padding`` is unknown, or ``drop_path`` is not a probability.
    """

    stages = ("layer1", "layer2", "layer3", "layer4")

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        padding: str = "symmetric",
        eps: float = 1e-5,
        dropout: float = 0.2,
        drop_path: float = 0.0,
        se: Attend | None = None,
    ) -> None:
        super().__init__()
        seed = draw_seed()
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path must be in [0, 1), got {drop_path}")
        unit, channels, number = unit_of(padding, eps), STEM, 0
        self.conv1 = unit(in_channels, channels, 3, stride=2, activation=nn.SiLU)
        for stage, (name, rows) in enumerate(zip(self.stages, STAGES, strict=True), start=2):
            layer = nn.Sequential()
            for expansion, kernel_size, first_stride, outputs, blocks in rows:
                for i in range(blocks):
                    wide, stride = expansion * channels, 1 if i else first_stride
                    layer.append(
                        InvertedResidual(
                            channels, wide, outputs, kernel_size, stride, nn.SiLU,
                            _attention(se, channels, wide, stage), unit,
                            drop_path * number / BLOCKS,
                        )
                    )  # fmt: skip
                    channels, number = outputs, number + 1
            self.add_module(name, layer)
        self.head = unit(channels, HEAD, activation=nn.SiLU)
        self.make_head(HEAD, num_classes, dropout)
        initialise(self, seed)

    def stem(self, x: Tensor) -> Tensor:
        return self.conv1(x)

    def finish(self, x: Tensor) -> Tensor:
        return self.head(x)

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        depths = tuple(sum(row[-1] for row in rows) for rows in STAGES)
        state = translate_blocks(super().translate(state), [depths])
        return rename(state, _HEAD_ELSEWHERE)


def _attention(se: Attend | None, inputs: int, wide: int, stage: int) -> nn.Module | None:
    if se is None:
        return None
    return se(wide, stage, squeeze_channels=inputs // 4, activation=nn.SiLU)


_HEAD_ELSEWHERE = (
    (r"^conv_head\.", "head.conv."),
    (r"^bn2\.", "head.bn."),
    (r"^classifier\.(1\.)?", "fc."),
)

PREPROCESSING = replace(IMAGENET, interpolation="bicubic")  # of all published weights

register_twins("efficientnet_b0_no_se", EfficientNet, PREPROCESSING, 1000, se="efficientnet_b0")
