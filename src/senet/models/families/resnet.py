"""Residual networks with and without squeeze-and-excitation, for ImageNet and for CIFAR.

The blocks are in :mod:`senet.models.families.residual`; where SE goes in them is decided in one
place, :meth:`~senet.models.families.residual.Residual.se_at`.

=================  ==============================================================================
ResNet             He et al., arXiv 1512.03385 (18 to 152; and 20 to 110 for CIFAR, section 4.2)
ResNeXt            Xie et al., arXiv 1611.05431
SENet-154          the paper's own network, section 5.1 and appendix: a modified ResNeXt-152 64×4d
pre-activation     He et al., arXiv 1603.05027 (164 for CIFAR)
wide               Zagoruyko and Komodakis, arXiv 1605.07146 (16-8 for CIFAR)
=================  ==============================================================================

The keys of the state dicts are torchvision's, and ``se.fc1``, ``se.fc2`` in each block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from senet.models.attention import Attend
from senet.models.families import resnet_form
from senet.models.families.residual import (
    PLACEMENTS,
    BasicBlock,
    Block,
    Bottleneck,
    Design,
    PreactBasicBlock,
    PreactBottleneck,
    Step,
    conv3x3,
    make_shortcut,
)
from senet.models.form import Form
from senet.models.initialise import draw_seed, initialise
from senet.models.network import Network
from senet.models.registry import register_twins
from senet.models.rename import WRAPPED, rename
from senet.nn.norm import NORMS
from senet.preprocessing import CIFAR, IMAGENET


class ResNet(Network):
    """A residual network: a stem, stages of blocks that halve the map, and a linear classifier.

    Args:
        block: one of the block classes of :mod:`senet.models.families.residual`.
        layers: number of blocks of each stage.
        widths: width of each stage; a bottleneck's output has four times as many channels.
        stem: ``"imagenet"`` (7×7 of stride 2, then max pooling: a quarter of the side), ``"deep"``
            (three 3×3 convolutions in place of the 7×7, as in SENet-154) or ``"cifar"`` (3×3, which
            keeps the size).
        stem_pool: where the stem's max pooling starts: ``"padded"`` one pixel outside the map
            (today's published weights) or ``"ceil"`` at its corner (the authors' Caffe networks
            and what was ported from them).
        stem_width: channels of the stem, by default the first of ``widths``.
        groups: groups of the 3×3 convolution, 32 in ResNeXt 32×4d.
        width_per_group: channels of a group at width 64, 4 in ResNeXt 32×4d.
        halved: whether the first convolution of a bottleneck has half of the channels of its 3×3,
            as in SENet-154.
        shortcut: ``"projection"`` (1×1 convolution where the shape changes), ``"projection3x3"``
            (3×3 where the map is halved, as in SENet-154) or ``"pad"`` (option A of the ResNet
            paper: subsample and pad with zeros, no parameters).
        stride_on: the convolution of a bottleneck that has the stride: ``"3x3"`` (today's
            published weights) or ``"1x1"`` (the original).
        branch_relu: whether the branch of a basic block ends with a ReLU of its own, before SE, as
            in the networks that timm calls ``legacy_seresnet18`` and ``34``.
        output_stride: pixels of the image per step of the last map, for dense prediction: stages
            that would pass it keep their map's size and dilate their 3×3 convolutions instead. The
            weights stay the same. By default no stage does: 32 for ImageNet.
        norm_layer: ``"batch"``, ``"frozen"`` (batch norm that always uses its running statistics
            and learns nothing), ``"group"`` (32 groups of channels) or ``"none"``; without norms,
            convolutions have biases.
        drop_path: share of images whose last residual branch is left out in training, see
            :class:`~senet.nn.drop_path.DropPath`; from the first block on it grows to this.
        dropout: share of the pooled features that training drops before the classifier.
        se: a function that makes the blocks of attention; ``None`` for the plain network.
        placement: where they go: one of ``PLACEMENTS``, see
            :meth:`~senet.models.families.residual.Residual.se_at`.
        zero_init_residual: start the last norm of every branch at zero (arXiv 1706.02677).

    Shape:
        ``[B, in_channels, H, W]`` to logits ``[B, num_classes]``.
    """

    def __init__(
        self,
        block: Block,
        layers: Iterable[int],
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        widths: Iterable[int] = (64, 128, 256, 512),
        stem: str = "imagenet",
        stem_pool: str = "padded",
        stem_width: int | None = None,
        groups: int = 1,
        width_per_group: int = 64,
        halved: bool = False,
        shortcut: str = "projection",
        stride_on: str = "3x3",
        branch_relu: bool = False,
        output_stride: int | None = None,
        norm_layer: str = "batch",
        drop_path: float = 0.0,
        dropout: float = 0.0,
        se: Attend | None = None,
        placement: str = "standard",
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        seed = draw_seed()
        _check("stem", stem, ("imagenet", "deep", "cifar"))
        _check("stem_pool", stem_pool, ("padded", "ceil"))
        _check("shortcut", shortcut, ("projection", "projection3x3", "pad"))
        _check("stride_on", stride_on, ("3x3", "1x1"))
        _check("placement", placement, PLACEMENTS)
        _check("norm_layer", norm_layer, tuple(NORMS))
        if branch_relu and block is not BasicBlock:
            raise ValueError("branch_relu is for basic blocks, and these are others: leave it out")
        if zero_init_residual and norm_layer not in ("batch", "group"):
            raise ValueError(
                f"zero_init_residual needs norms that learn, and these are {norm_layer!r}"
            )
        layers, widths = tuple(layers), tuple(widths)
        if len(layers) != len(widths) or min(layers) < 1:
            raise ValueError(f"layers={layers} and widths={widths} must name the same stages")

        channels = stem_width or widths[0]
        design = Design(
            groups, width_per_group, halved, shortcut, stride_on, branch_relu, placement, se,
            norm_layer,
        )  # fmt: skip
        self._make_stem(stem, in_channels, channels, block.preactivation, stem_pool, design)
        self.stages = tuple(f"layer{i + 1}" for i in range(len(layers)))
        moves = iter(_steps(layers, 1 if stem == "cifar" else 4, output_stride))
        rates = iter(drop_path * i / max(sum(layers) - 1, 1) for i in range(sum(layers)))
        for i, (name, blocks, width) in enumerate(zip(self.stages, layers, widths, strict=True)):
            stage = nn.Sequential()
            for _ in range(blocks):
                step, outputs, downsample = next(moves), width * block.expansion, None
                if step.halves or channels != outputs:
                    downsample = make_shortcut(channels, outputs, step, design, block.preactivation)
                stage.append(block(channels, width, step, i + 2, design, downsample, next(rates)))
                channels = outputs
            self.add_module(name, stage)
        self.bn_last = None
        if block.preactivation:
            self.bn_last, self.relu_last = design.norm(channels), nn.ReLU()
        self.make_head(channels, num_classes, dropout)
        initialise(self, seed, zero_init_residual)

    def _make_stem(
        self,
        stem: str,
        inputs: int,
        channels: int,
        preactivation: bool,
        pool: str,
        design: Design,
    ) -> None:
        half, bias = channels // 2, design.bias
        self.bn1 = self.conv2 = self.maxpool = None
        if stem == "cifar":
            self.conv1 = conv3x3(inputs, channels, bias=bias)
        elif stem == "imagenet":
            self.conv1 = nn.Conv2d(inputs, channels, 7, 2, padding=3, bias=bias)
        else:
            self.conv1 = conv3x3(inputs, half, stride=2, bias=bias)
        if not preactivation:  # pre-activation blocks begin with norms of their own
            self.bn1, self.relu = design.norm(self.conv1.out_channels), nn.ReLU()
        if stem == "deep":
            self.conv2, self.bn2 = conv3x3(half, half, bias=bias), design.norm(half)
            self.relu2 = nn.ReLU()
            self.conv3, self.bn3 = conv3x3(half, channels, bias=bias), design.norm(channels)
            self.relu3 = nn.ReLU()
        if stem != "cifar":
            ceil = pool == "ceil"
            self.maxpool = nn.MaxPool2d(3, 2, padding=0 if ceil else 1, ceil_mode=ceil)

    def stem(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if self.bn1 is not None:
            x = self.relu(self.bn1(x))
        if self.conv2 is not None:
            x = self.relu2(self.bn2(self.conv2(x)))
            x = self.relu3(self.bn3(self.conv3(x)))
        return x if self.maxpool is None else self.maxpool(x)

    def finish(self, x: Tensor) -> Tensor:
        return x if self.bn_last is None else self.relu_last(self.bn_last(x))

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        state = rename(state, (WRAPPED,))
        if any(name.startswith("conv1.0.") for name in state):
            state = rename(state, _DEEP_STEM_ELSEWHERE)
        return super().translate(rename(state, _NAMES_ELSEWHERE))

    @classmethod
    def form_of(cls, state: Mapping[str, Tensor]) -> Form:
        return resnet_form.form_of(cls.translate(state), state)


# timm's deep stem: convolution, norm, ReLU, …, convolution; and the last norm beside them.
_DEEP_STEM_ELSEWHERE = (
    (r"^bn1\.", "bn3."),
    (r"^conv1\.0\.", "conv1."),
    (r"^conv1\.1\.", "bn1."),
    (r"^conv1\.3\.", "conv2."),
    (r"^conv1\.4\.", "bn2."),
    (r"^conv1\.6\.", "conv3."),
)
# Apart from that, torchvision's and timm's names are ours.
_NAMES_ELSEWHERE = (
    (r"^layer0\.", ""),  # legacy SENets of Cadene and timm
    (r"\.se_module\.", ".se."),
    (r"\.se_layer\.conv([12])\.conv\.", r".se.fc\1."),  # mmpretrain
    (r"\.shortcut\.", ".downsample."),  # CIFAR networks of kuangliu
    (r"^(last_linear|linear|classifier|head\.fc)\.", "fc."),  # and of others
)


def _steps(layers: tuple[int, ...], stem: int, output_stride: int | None) -> Iterator[Step]:
    """Yield how each block moves, so that the last map has the output stride.

    A stage that keeps its map's size dilates instead. Its first block still takes the map of the
    stage before, with that one's dilation.
    """
    reachable = [stem << i for i in range(len(layers))]
    if output_stride is None:
        output_stride = reachable[-1]
    if output_stride not in reachable:
        raise ValueError(f"output_stride must be one of {reachable}, got {output_stride}")
    reached, dilation = stem, 1
    for i, blocks in enumerate(layers):
        stride, before = 1, dilation
        if i > 0 and reached < output_stride:
            stride, reached = 2, 2 * reached
        elif i > 0:
            dilation *= 2
        yield Step(stride, dilation, before, halves=i > 0)
        yield from [Step(1, dilation, dilation)] * (blocks - 1)


def _check(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{what} must be one of {known}, got {value!r}")


IMAGENET_NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {"block": BasicBlock, "layers": (2, 2, 2, 2)},
    "resnet34": {"block": BasicBlock, "layers": (3, 4, 6, 3)},
    "resnet50": {"block": Bottleneck, "layers": (3, 4, 6, 3)},
    "resnet101": {"block": Bottleneck, "layers": (3, 4, 23, 3)},
    "resnet152": {"block": Bottleneck, "layers": (3, 8, 36, 3)},
    "resnext50_32x4d": {
        "block": Bottleneck, "layers": (3, 4, 6, 3), "groups": 32, "width_per_group": 4,
    },
    "resnext101_32x4d": {
        "block": Bottleneck, "layers": (3, 4, 23, 3), "groups": 32, "width_per_group": 4,
    },
}  # fmt: skip

# 152 layers; first 1×1 of half the channels, deep stem, 3×3 projections, dropout.
SENET_154: dict[str, Any] = {
    "block": Bottleneck, "layers": (3, 8, 36, 3), "groups": 64, "width_per_group": 4,
    "halved": True, "stem": "deep", "stem_pool": "ceil", "stem_width": 128,
    "shortcut": "projection3x3", "dropout": 0.2,
}  # fmt: skip

_THIN = {"stem": "cifar", "widths": (16, 32, 64)}
CIFAR_NETWORKS: dict[str, dict[str, Any]] = {
    **{
        f"resnet{6 * n + 2}_cifar": {
            "block": BasicBlock, "layers": (n, n, n), "shortcut": "pad", **_THIN,
        }
        for n in (1, 3, 5, 7, 9, 18)
    },
    "resnet164_cifar": {"block": PreactBottleneck, "layers": (18, 18, 18), **_THIN},
    "wide_resnet16_8_cifar": {
        "block": PreactBasicBlock, "layers": (2, 2, 2),
        "stem": "cifar", "stem_width": 16, "widths": (128, 256, 512),
    },
}  # fmt: skip


for _name, _variant in IMAGENET_NETWORKS.items():
    register_twins(_name, partial(ResNet, **_variant), IMAGENET, num_classes=1000)
register_twins("senet154_no_se", partial(ResNet, **SENET_154), IMAGENET, 1000, se="senet154")
for _name, _variant in CIFAR_NETWORKS.items():
    register_twins(_name, partial(ResNet, **_variant), CIFAR, num_classes=10)
