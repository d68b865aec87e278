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
from senet.nn.drop_path import DropPath
from senet.nn.norm import NORMS

PLACEMENTS = ("standard", "pre", "post", "identity", "3x3")


def conv3x3(
    inputs: int,
    outputs: int,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Return a 3×3 convolution that keeps the feature map's size at stride 1."""
    return nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, groups, bias)


def conv1x1(inputs: int, outputs: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """Return a 1×1 convolution."""
    return nn.Conv2d(inputs, outputs, 1, stride, bias=bias)


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
        # A window of one position subsamples, and its gradient keeps channels-last, which that of a
        # slice does not.
        x = F.avg_pool2d(x, 1, self.stride)
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))


@dataclass(frozen=True)
class Step:
    """How a block moves over its map.

    Attributes:
        stride: stride of the block.
        dilation: dilation of its last 3×3 convolution.
        first_dilation: dilation of its first one, which takes the map of the block before.
        halves: whether the block would halve its map in a network without dilation.
    """

    stride: int = 1
    dilation: int = 1
    first_dilation: int = 1
    halves: bool = False


@dataclass(frozen=True)
class Design:
    """Choices that all blocks of a network share.

    The fields are arguments of :class:`~senet.models.families.resnet.ResNet`.
    """

    groups: int = 1
    width_per_group: int = 64
    halved: bool = False
    shortcut: str = "projection"
    stride_on: str = "3x3"
    branch_relu: bool = False
    placement: str = "standard"
    se: Attend | None = None
    norm_layer: str = "batch"

    @property
    def bias(self) -> bool:
        """Whether convolutions have biases: those that no norm follows."""
        return self.norm_layer == "none"

    def norm(self, channels: int) -> nn.Module:
        """Return a norm for ``channels`` channels."""
        return NORMS[self.norm_layer](channels)


def make_shortcut(
    inputs: int, outputs: int, step: Step, design: Design, preactivation: bool
) -> nn.Module:
    """Return the module that brings the shortcut to the shape of the block's output.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        step: how the block moves.
        design: choices that all blocks of the network share.
        preactivation: whether the shortcut starts after the first norm of the block.
    """
    if design.shortcut == "pad":
        return PadShortcut(inputs, outputs, step.stride)
    if design.shortcut == "projection3x3" and step.halves:
        conv = conv3x3(inputs, outputs, step.stride, dilation=step.first_dilation, bias=design.bias)
    else:
        conv = conv1x1(inputs, outputs, step.stride, design.bias)
    if preactivation:  # the input of the projection has been normalised already
        return conv
    return nn.Sequential(conv, design.norm(outputs))


class Residual(nn.Module):
    """A residual branch, the shortcut that it is added to, and attention somewhere on the way.

    Args:
        inputs: channels of the input.
        width: width of the block; a bottleneck's output has four times as many channels.
        step: how the block moves over its map.
        stage: stage that the block is in, counted as the paper does.
        design: choices that all blocks of the network share.
        downsample: a module that brings the shortcut to the shape of the output, where they differ.
        drop_path: share of images whose branch is left out in training.
    """

    preactivation = False

    def _make_se(self, design: Design, stage: int, inputs: int, inner: int, outer: int) -> None:
        channels = {"pre": inputs, "3x3": inner}.get(design.placement, outer)
        self.placement = design.placement
        self.se = None if design.se is None else design.se(channels, stage)

    def _make_end(self, downsample: nn.Module | None, drop_path: float) -> None:
        self.downsample = downsample
        self.drop_path = DropPath(drop_path) if drop_path else None

    def add(self, u: Tensor, shortcut: Tensor) -> Tensor:
        """Return the branch plus the shortcut; training leaves out branches at random."""
        if self.drop_path is not None:
            u = self.drop_path(u)
        return u + self.se_at("identity", shortcut)

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
        step: Step,
        stage: int,
        design: Design,
        downsample: nn.Module | None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if design.groups != 1:
            raise ValueError(f"basic blocks have no groups, got groups={design.groups}")
        first, second = step.first_dilation, step.dilation
        self.conv1 = conv3x3(inputs, width, step.stride, dilation=first, bias=design.bias)
        self.bn1 = design.norm(width)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(width, width, dilation=second, bias=design.bias)
        self.bn2 = design.norm(width)
        self.relu_branch = nn.ReLU() if design.branch_relu else None
        self._make_se(design, stage, inputs, width, width)
        self._make_end(downsample, drop_path)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.se_at("pre", x)
        h = self.relu1(self.se_at("3x3", self.bn1(self.conv1(h))))
        u = self.bn2(self.conv2(h))
        if self.relu_branch is not None:
            u = self.relu_branch(u)
        u = self.se_at("standard", u)
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu2(self.add(u, shortcut))
        return self.se_at("post", y)


class Bottleneck(Residual):
    """1×1 down, 3×3 (grouped in ResNeXt), 1×1 up to four times the width."""

    expansion = 4

    def __init__(
        self,
        inputs: int,
        width: int,
        step: Step,
        stage: int,
        design: Design,
        downsample: nn.Module | None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        inner = width * design.width_per_group // 64 * design.groups
        first = inner // 2 if design.halved else inner
        outer = width * self.expansion
        strides = (1, step.stride) if design.stride_on == "3x3" else (step.stride, 1)
        self.conv1 = conv1x1(inputs, first, strides[0], design.bias)
        self.bn1 = design.norm(first)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(
            first, inner, strides[1], design.groups, step.first_dilation, design.bias
        )
        self.bn2 = design.norm(inner)
        self.relu2 = nn.ReLU()
        self.conv3 = conv1x1(inner, outer, bias=design.bias)
        self.bn3 = design.norm(outer)
        self._make_se(design, stage, inputs, inner, outer)
        self._make_end(downsample, drop_path)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.se_at("pre", x)
        h = self.relu1(self.bn1(self.conv1(h)))
        h = self.relu2(self.se_at("3x3", self.bn2(self.conv2(h))))
        u = self.se_at("standard", self.bn3(self.conv3(h)))
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu3(self.add(u, shortcut))
        return self.se_at("post", y)


class PreactBasicBlock(Residual):
    """Two 3×3 convolutions, each after its batch norm and ReLU: the wide networks' block."""

    expansion = 1
    preactivation = True

    def __init__(
        self,
        inputs: int,
        width: int,
        step: Step,
        stage: int,
        design: Design,
        downsample: nn.Module | None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.bn1 = design.norm(inputs)
        self.relu1 = nn.ReLU()
        first, second = step.first_dilation, step.dilation
        self.conv1 = conv3x3(inputs, width, step.stride, dilation=first, bias=design.bias)
        self.bn2 = design.norm(width)
        self.relu2 = nn.ReLU()
        self.conv2 = conv3x3(width, width, dilation=second, bias=design.bias)
        self._make_se(design, stage, inputs, width, width)
        self._make_end(downsample, drop_path)

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu1(self.bn1(self.se_at("pre", x)))
        h = self.relu2(self.se_at("3x3", self.bn2(self.conv1(active))))
        u = self.se_at("standard", self.conv2(h))
        shortcut = x if self.downsample is None else self.downsample(active)
        return self.se_at("post", self.add(u, shortcut))


class PreactBottleneck(Residual):
    """1×1, 3×3, 1×1, each after its batch norm and ReLU: He et al., arXiv 1603.05027."""

    expansion = 4
    preactivation = True

    def __init__(
        self,
        inputs: int,
        width: int,
        step: Step,
        stage: int,
        design: Design,
        downsample: nn.Module | None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        outer = width * self.expansion
        self.bn1 = design.norm(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = conv1x1(inputs, width, bias=design.bias)
        self.bn2 = design.norm(width)
        self.relu2 = nn.ReLU()
        self.conv2 = conv3x3(
            width, width, step.stride, dilation=step.first_dilation, bias=design.bias
        )
        self.bn3 = design.norm(width)
        self.relu3 = nn.ReLU()
        self.conv3 = conv1x1(width, outer, bias=design.bias)
        self._make_se(design, stage, inputs, width, outer)
        self._make_end(downsample, drop_path)

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu1(self.bn1(self.se_at("pre", x)))
        h = self.relu2(self.bn2(self.conv1(active)))
        h = self.relu3(self.se_at("3x3", self.bn3(self.conv2(h))))
        u = self.se_at("standard", self.conv3(h))
        shortcut = x if self.downsample is None else self.downsample(active)
        return self.se_at("post", self.add(u, shortcut))


Block = type[BasicBlock] | type[Bottleneck] | type[PreactBasicBlock] | type[PreactBottleneck]
