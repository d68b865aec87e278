"""The blocks of residual networks, and the places in them where squeeze-and-excitation can go.

:meth:`Residual.se_at` is called at every such place and decides which one it is. The paper's choice
is the end of the residual branch, after its last batch norm and before the addition (Figure 3); the
alternatives are those of its Figure 5 and Tables 14 and 15.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from senet.models.attention import Attend

PLACEMENTS = ("standard", "pre", "post", "identity", "3x3")


def conv3x3(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a 3×3 convolution without bias that keeps the feature map's size at stride 1."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Return a 1×1 convolution without bias."""
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


def make_shortcut(
    inputs: int, outputs: int, stride: int, kind: str, preactivation: bool
) -> nn.Module:
    """Return the module that brings the shortcut to the shape of the block's output.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: stride of the block.
        kind: ``shortcut`` of :class:`~senet.models.families.resnet.ResNet`.
        preactivation: whether the shortcut starts after the first norm of the block.
    """
    if kind == "pad":
        return PadShortcut(inputs, outputs, stride)
    wide = kind == "projection3x3" and stride > 1
    conv = conv3x3(inputs, outputs, stride) if wide else conv1x1(inputs, outputs, stride)
    if preactivation:  # the input of the projection has been normalised already
        return conv
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


@dataclass(frozen=True)
class Design:
    """Choices that all blocks of a network share.

    The fields are arguments of :class:`~senet.models.families.resnet.ResNet`.
    """

    groups: int
    width_per_group: int
    halved: bool
    stride_on: str
    branch_relu: bool
    placement: str
    se: Attend | None


class Residual(nn.Module):
    """A residual branch, the shortcut that it is added to, and attention somewhere on the way.

    Args:
        inputs: channels of the input.
        width: width of the block; a bottleneck's output has four times as many channels.
        stride: stride of the block.
        stage: stage that the block is in, counted as the paper does.
        design: choices that all blocks of the network share.
        downsample: a module that brings the shortcut to the shape of the output, where they differ.
    """

    preactivation = False

    def _make_se(self, design: Design, stage: int, inputs: int, inner: int, outer: int) -> None:
        channels = {"pre": inputs, "3x3": inner}.get(design.placement, outer)
        self.placement = design.placement
        self.se = None if design.se is None else design.se(channels, stage)

    def se_at(self, place: str, x: Tensor) -> Tensor:
        """Return the feature map ``x``, rescaled by attention if ``place`` is where it goes.

        Figure 5 of the paper, and Table 15:

        ``standard``  at the end of the branch, before the addition
        ``pre``       before the branch
        ``post``      after the addition and its ReLU
        ``identity``  on the shortcut
        ``3x3``       within the branch, after the (first) 3×3 convolution
        """
        if self.se is not None and place == self.placement:
            return self.se(x)
        return x


class BasicBlock(Residual):
    """Two 3×3 convolutions: He et al., arXiv 1512.03385, Figure 5 left."""

    expansion = 1

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        stage: int,
        design: Design,
        downsample: nn.Module | None,
    ) -> None:
        super().__init__()
        if design.groups != 1:
            raise ValueError(f"basic blocks have no groups, got groups={design.groups}")
        self.conv1 = conv3x3(inputs, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu_branch = nn.ReLU() if design.branch_relu else None
        self._make_se(design, stage, inputs, width, width)
        self.downsample = downsample
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.se_at("pre", x)
        h = self.relu1(self.se_at("3x3", self.bn1(self.conv1(h))))
        u = self.bn2(self.conv2(h))
        if self.relu_branch is not None:
            u = self.relu_branch(u)
        u = self.se_at("standard", u)
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu2(u + self.se_at("identity", shortcut))
        return self.se_at("post", y)


class Bottleneck(Residual):
    """1×1 down, 3×3 (grouped in ResNeXt), 1×1 up to four times the width."""

    expansion = 4

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        stage: int,
        design: Design,
        downsample: nn.Module | None,
    ) -> None:
        super().__init__()
        inner = width * design.width_per_group // 64 * design.groups
        first = inner // 2 if design.halved else inner
        outer = width * self.expansion
        strides = (1, stride) if design.stride_on == "3x3" else (stride, 1)
        self.conv1 = conv1x1(inputs, first, strides[0])
        self.bn1 = nn.BatchNorm2d(first)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(first, inner, strides[1], design.groups)
        self.bn2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU()
        self.conv3 = conv1x1(inner, outer)
        self.bn3 = nn.BatchNorm2d(outer)
        self._make_se(design, stage, inputs, inner, outer)
        self.downsample = downsample
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.se_at("pre", x)
        h = self.relu1(self.bn1(self.conv1(h)))
        h = self.relu2(self.se_at("3x3", self.bn2(self.conv2(h))))
        u = self.se_at("standard", self.bn3(self.conv3(h)))
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu3(u + self.se_at("identity", shortcut))
        return self.se_at("post", y)


class PreactBasicBlock(Residual):
    """Two 3×3 convolutions, each after its batch norm and ReLU: the wide networks' block."""

    expansion = 1
    preactivation = True

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        stage: int,
        design: Design,
        downsample: nn.Module | None,
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = conv3x3(inputs, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = conv3x3(width, width)
        self._make_se(design, stage, inputs, width, width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu1(self.bn1(self.se_at("pre", x)))
        h = self.relu2(self.se_at("3x3", self.bn2(self.conv1(active))))
        u = self.se_at("standard", self.conv2(h))
        shortcut = x if self.downsample is None else self.downsample(active)
        return self.se_at("post", u + self.se_at("identity", shortcut))


class PreactBottleneck(Residual):
    """1×1, 3×3, 1×1, each after its batch norm and ReLU: He et al., arXiv 1603.05027."""

    expansion = 4
    preactivation = True

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        stage: int,
        design: Design,
        downsample: nn.Module | None,
    ) -> None:
        super().__init__()
        outer = width * self.expansion
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = conv1x1(inputs, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = conv3x3(width, width, stride)
        self.bn3 = nn.BatchNorm2d(width)
        self.relu3 = nn.ReLU()
        self.conv3 = conv1x1(width, outer)
        self._make_se(design, stage, inputs, width, outer)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu1(self.bn1(self.se_at("pre", x)))
        h = self.relu2(self.bn2(self.conv1(active)))
        h = self.relu3(self.se_at("3x3", self.bn3(self.conv2(h))))
        u = self.se_at("standard", self.conv3(h))
        shortcut = x if self.downsample is None else self.downsample(active)
        return self.se_at("post", u + self.se_at("identity", shortcut))


Block = type[BasicBlock] | type[Bottleneck] | type[PreactBasicBlock] | type[PreactBottleneck]
