"""Residual networks with and without squeeze-and-excitation, for ImageNet and for CIFAR.

Where SE goes: at the end of the residual branch, after its last batch norm and before the addition
(Figure 3 of the paper). In each ``forward`` below that is the call that gets ``self.se``.

=================  ==============================================================================
ResNet             He et al., arXiv 1512.03385 (18 to 152; and 20 to 110 for CIFAR, section 4.2)
ResNeXt            Xie et al., arXiv 1611.05431
pre-activation     He et al., arXiv 1603.05027 (164 for CIFAR)
wide               Zagoruyko and Komodakis, arXiv 1605.07146 (16-8 for CIFAR)
=================  ==============================================================================

The keys of the state dicts are torchvision's, and ``se.fc1``, ``se.fc2`` in each block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from senet.models.initialise import draw_seed, initialise
from senet.models.preprocessing import CIFAR, IMAGENET
from senet.models.registry import Network, register_twins
from senet.nn import conv_norm_act, norm_act


def _conv3x3(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, groups=groups, bias=False)


def _conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


class PadShortcut(nn.Module):
    """The parameter-free shortcut of arXiv 1512.03385 (option A): subsample, and pad channels.

    The new channels are zero, half before and half after the old ones.

    Example:
        >>> import torch
        >>> PadShortcut(16, 32, stride=2)(torch.randn(1, 16, 8, 8)).shape
        torch.Size([1, 32, 4, 4])
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))


@dataclass(frozen=True)
class Branch:
    """What a block must know: its channels, and what the family decided for all of them."""

    inputs: int
    width: int
    stride: int
    groups: int
    width_per_group: int
    stride_on: str
    se: Callable[[int], nn.Module] | None

    def attention(self, channels: int) -> nn.Module | None:
        return None if self.se is None else self.se(channels)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions."""

    expansion = 1
    preactivation = False

    def __init__(self, b: Branch, downsample: nn.Module | None) -> None:
        super().__init__()
        if b.groups != 1:
            raise ValueError(f"basic blocks have no groups, got groups={b.groups}")
        self.conv1 = _conv3x3(b.inputs, b.width, b.stride)
        self.bn1 = nn.BatchNorm2d(b.width)
        self.conv2 = _conv3x3(b.width, b.width)
        self.bn2 = nn.BatchNorm2d(b.width)
        self.se = b.attention(b.width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = _shortcut(self.downsample, x)
        x = norm_act(self.conv1(x), self.bn1)
        return norm_act(self.conv2(x), self.bn2, self.se, shortcut)


class Bottleneck(nn.Module):
    """1×1 down, 3×3 (grouped in ResNeXt), 1×1 up to four times the width."""

    expansion = 4
    preactivation = False

    def __init__(self, b: Branch, downsample: nn.Module | None) -> None:
        super().__init__()
        inner = b.width * b.width_per_group // 64 * b.groups
        outer = b.width * self.expansion
        first, second = (1, b.stride) if b.stride_on == "3x3" else (b.stride, 1)
        self.conv1 = _conv1x1(b.inputs, inner, first)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = _conv3x3(inner, inner, second, b.groups)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = _conv1x1(inner, outer)
        self.bn3 = nn.BatchNorm2d(outer)
        self.se = b.attention(outer)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = _shortcut(self.downsample, x)
        x = norm_act(self.conv1(x), self.bn1)
        x = norm_act(self.conv2(x), self.bn2)
        return conv_norm_act(x, self.conv3, self.bn3, self.se, shortcut)


class PreactBasicBlock(nn.Module):
    """Two 3×3 convolutions, each after its batch norm and ReLU: the wide networks' block."""

    expansion = 1
    preactivation = True

    def __init__(self, b: Branch, downsample: nn.Module | None) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(b.inputs)
        self.conv1 = _conv3x3(b.inputs, b.width, b.stride)
        self.bn2 = nn.BatchNorm2d(b.width)
        self.conv2 = _conv3x3(b.width, b.width)
        self.se = b.attention(b.width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        active = norm_act(x, self.bn1)
        u = self.conv1(active)
        u = self.conv2(norm_act(u, self.bn2))
        return _add(u, self.se, x if self.downsample is None else self.downsample(active))


class PreactBottleneck(nn.Module):
    """1×1, 3×3, 1×1, each after its batch norm and ReLU."""

    expansion = 4
    preactivation = True

    def __init__(self, b: Branch, downsample: nn.Module | None) -> None:
        super().__init__()
        outer = b.width * self.expansion
        self.bn1 = nn.BatchNorm2d(b.inputs)
        self.conv1 = _conv1x1(b.inputs, b.width)
        self.bn2 = nn.BatchNorm2d(b.width)
        self.conv2 = _conv3x3(b.width, b.width, b.stride)
        self.bn3 = nn.BatchNorm2d(b.width)
        self.conv3 = _conv1x1(b.width, outer)
        self.se = b.attention(outer)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        active = norm_act(x, self.bn1)
        u = self.conv1(active)
        u = self.conv2(norm_act(u, self.bn2))
        u = self.conv3(norm_act(u, self.bn3))
        return _add(u, self.se, x if self.downsample is None else self.downsample(active))


Block = type[BasicBlock] | type[Bottleneck] | type[PreactBasicBlock] | type[PreactBottleneck]


def _shortcut(downsample: nn.Module | None, x: Tensor) -> Tensor:
    return x if downsample is None else downsample(x)


def _add(u: Tensor, se: nn.Module | None, shortcut: Tensor) -> Tensor:
    return (u if se is None else se(u)) + shortcut


class ResNet(Network):
    """A residual network: a stem, stages of blocks that halve the map, and a linear classifier.

    Args:
        block: one of the block classes of this file.
        layers: blocks a stage.
        widths: width a stage; a bottleneck's output has four times as many channels.
        stem: ``"imagenet"`` (7×7 of stride 2, then max pooling: a quarter of the side) or
            ``"cifar"`` (3×3, nothing lost).
        stem_pool: where the stem's max pooling starts: ``"padded"`` one pixel outside the map
            (today's published weights) or ``"ceil"`` at its corner (the authors' Caffe networks
            and what was ported from them).
        stem_width: channels of the stem, by default the first of ``widths``.
        groups: groups of the 3×3 convolution, 32 in ResNeXt 32×4d.
        width_per_group: channels a group at width 64, 4 in ResNeXt 32×4d.
        shortcut: ``"projection"`` (1×1 convolution where the shape changes) or ``"pad"`` (option A
            of the ResNet paper: subsample and pad with zeros, no parameters).
        stride_on: the convolution of a bottleneck that has the stride: ``"3x3"`` (today's
            published weights) or ``"1x1"`` (the original).
        se: makes the SE block for a number of channels; ``None`` for the plain network.
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
        shortcut: str = "projection",
        stride_on: str = "3x3",
        se: Callable[[int], nn.Module] | None = None,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        seed = draw_seed()
        _check("stem", stem, ("imagenet", "cifar"))
        _check("stem_pool", stem_pool, ("padded", "ceil"))
        _check("shortcut", shortcut, ("projection", "pad"))
        _check("stride_on", stride_on, ("3x3", "1x1"))
        layers, widths = tuple(layers), tuple(widths)
        if len(layers) != len(widths) or min(layers) < 1:
            raise ValueError(f"layers={layers} and widths={widths} must name the same stages")

        channels = stem_width or widths[0]
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(in_channels, channels, 7, 2, padding=3, bias=False)
        else:
            self.conv1 = _conv3x3(in_channels, channels)
        self.bn1 = None if block.preactivation else nn.BatchNorm2d(channels)
        self.maxpool = None
        if stem == "imagenet":
            ceil = stem_pool == "ceil"
            self.maxpool = nn.MaxPool2d(3, 2, padding=0 if ceil else 1, ceil_mode=ceil)

        self.stages: list[str] = []
        for i, (blocks, width) in enumerate(zip(layers, widths, strict=True)):
            stage = nn.Sequential()
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                branch = Branch(channels, width, stride, groups, width_per_group, stride_on, se)
                outputs = width * block.expansion
                changes = stride != 1 or channels != outputs
                stage.append(
                    block(
                        branch,
                        _downsample(channels, outputs, stride, shortcut, block.preactivation)
                        if changes
                        else None,
                    )
                )
                channels = outputs
            self.stages.append(f"layer{i + 1}")
            self.add_module(self.stages[-1], stage)
        self.bn_last = nn.BatchNorm2d(channels) if block.preactivation else None
        self.fc = nn.Linear(channels, num_classes)
        initialise(self, seed, zero_init_residual)

    def forward(self, x: Tensor) -> Tensor:
        x = self.forward_features(x)
        return self.fc(x.mean((2, 3)))

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map, ``[B, channels, H', W']``, before pooling and the classifier."""
        x = self.conv1(x)
        if self.bn1 is not None:
            x = norm_act(x, self.bn1)
        if self.maxpool is not None:
            x = self.maxpool(x)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return x if self.bn_last is None else norm_act(x, self.bn_last)


def _downsample(
    inputs: int, outputs: int, stride: int, shortcut: str, preactivation: bool
) -> nn.Module:
    if shortcut == "pad":
        return PadShortcut(inputs, outputs, stride)
    if preactivation:  # the input of the projection has been normalised already
        return _conv1x1(inputs, outputs, stride)
    return nn.Sequential(_conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))


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
for _name, _variant in CIFAR_NETWORKS.items():
    register_twins(_name, partial(ResNet, **_variant), CIFAR, num_classes=10)
