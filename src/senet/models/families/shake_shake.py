"""Shake-Shake networks for CIFAR, with and without squeeze-and-excitation.

Gastaldi, arXiv 1705.07485. A block has two residual branches. In training their sum is a random
convex combination, drawn anew for every image and block, and the gradient flows back through
another one; so no branch can rely on the other.

SE comes at the end of each of the two branches, after its last batch norm and before anything is
mixed or added. The SE paper (arXiv 1709.01507v4, section 5.1, Tables 4 and 5) integrates it here as
in all residual networks (section 3.3): the transformation F_tr is the non-identity branch, and SE
acts before the summation. Here there are two such branches, and they and the shortcut meet in one
sum; so each has gates of its own, and no gate sees the noise of the mixture. The place is
:class:`Branch`.

==========  ====================================================================================
26 2x96d    Branches of two 3×3 convolutions, the ReLU before them; shortcuts of two shifted flows
29 2x4x64d  ResNeXt bottlenecks (arXiv 1611.05431), the ReLU after the sum; ordinary shortcuts
==========  ====================================================================================

The two differ by more than their names say, as in the author's programs for CIFAR-10 and CIFAR-100
(github.com/xgastaldi/shake-shake), which this file follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from senet.models.attention import Attend
from senet.models.initialise import draw_seed, initialise
from senet.models.network import Network
from senet.models.registry import register_twins
from senet.nn import ConvNormAct
from senet.preprocessing import CIFAR

BACKWARDS = ("shake", "even")


def mix(a: Tensor, b: Tensor, share: Tensor, backward_share: Tensor) -> Tensor:
    """Return share · a + (1 − share) · b; the gradient flows back through ``backward_share``.

    Example:
        >>> a, b = torch.ones(1, requires_grad=True), torch.zeros(1, requires_grad=True)
        >>> y = mix(a, b, torch.tensor([0.2]), torch.tensor([0.7]))
        >>> y, *torch.autograd.grad(y, [a, b])
        (tensor([0.2000], grad_fn=<AddBackward0>), tensor([0.7000]), tensor([0.3000]))
    """
    back = torch.lerp(b, a, backward_share)
    return torch.lerp(b, a, share).detach() + (back - back.detach())


class Shake(nn.Module):
    """The sum of two branches: in training a random mixture, in evaluation their mean.

    Args:
        backward: share of the first branch in the gradient: ``"shake"`` for another random one, or
            ``"even"`` for a half. Both are drawn for each image ("Image" in the paper).

    Shape:
        Two maps ``[B, C, H, W]`` to one.

    Example:
        >>> a, b = torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1)
        >>> Shake("even").eval()(a, b).flatten()
        tensor([0.5000, 0.5000])
    """

    def __init__(self, backward: str) -> None:
        super().__init__()
        if backward not in BACKWARDS:
            raise ValueError(f"backward must be one of {BACKWARDS}, got {backward!r}")
        self.backward = backward

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if not self.training:
            return (a + b) / 2
        share = torch.rand_like(a[:, :1, :1, :1])
        again = torch.rand_like(share) if self.backward == "shake" else torch.full_like(share, 0.5)
        return mix(a, b, share, again)

    def extra_repr(self) -> str:
        return f"backward={self.backward!r}"


class Branch(nn.Module):
    """Successive convolutions, and attention to their output.

    Args:
        convolutions: the convolutions; the last one has no activation.
        stage: stage that the branch is in, counted as the SE paper does.
        se: a function that makes the block of attention.
    """

    def __init__(self, *convolutions: ConvNormAct, stage: int, se: Attend | None) -> None:
        super().__init__()
        *first, self.last = convolutions
        self.first = nn.Sequential(*first)
        self.se = None if se is None else se(self.last.conv.out_channels, stage)

    def forward(self, x: Tensor) -> Tensor:
        u = self.last(self.first(x))
        return u if self.se is None else self.se(u)


class TwoFlows(nn.Module):
    """The shortcut where the shape changes: two 1×1 convolutions, each of half of the channels.

    The second sees the feature map shifted by one pixel, right and down, so that at stride 2 the
    two see different pixels.

    Example:
        >>> TwoFlows(16, 32, stride=2)(torch.randn(1, 16, 8, 8)).shape
        torch.Size([1, 32, 4, 4])
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs // 2, 1, stride, bias=False)
        self.conv2 = nn.Conv2d(inputs, outputs // 2, 1, stride, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        moved = F.pad(x, (1, -1, 1, -1))
        return self.bn(torch.cat((self.conv1(x), self.conv2(moved)), 1))


class ShakeBlock(nn.Module):
    """A shortcut and two branches.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: stride of the block.
        stage: stage that the block is in, counted as the SE paper does.
        backward: see :class:`Shake`.
        se: a function that makes the blocks of attention.
    """

    __constants__ = ("preactivation",)
    preactivation = False

    def __init__(
        self, inputs: int, outputs: int, stride: int, stage: int, backward: str, se: Attend | None
    ) -> None:
        super().__init__()
        changes = inputs != outputs or stride > 1
        if self.preactivation:
            self.relu = nn.ReLU()
        self.downsample = self.projection(inputs, outputs, stride) if changes else None
        self.branch1 = Branch(*self.branch(inputs, outputs, stride), stage=stage, se=se)
        self.branch2 = Branch(*self.branch(inputs, outputs, stride), stage=stage, se=se)
        self.shake = Shake(backward)
        if not self.preactivation:
            self.relu = nn.ReLU()

    def projection(self, inputs: int, outputs: int, stride: int) -> nn.Module:
        """Return the shortcut where the shape changes."""
        raise NotImplementedError

    def branch(self, inputs: int, outputs: int, stride: int) -> tuple[ConvNormAct, ...]:
        """Return the convolutions of one branch."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(x) if self.preactivation else x
        shortcut = x if self.downsample is None else self.downsample(active)
        y = self.shake(self.branch1(active), self.branch2(active)) + shortcut
        return y if self.preactivation else self.relu(y)


class ShakeBasic(ShakeBlock):
    """Branches of two 3×3 convolutions, the ReLU before them: section 2.1 of the paper."""

    preactivation = True

    def projection(self, inputs: int, outputs: int, stride: int) -> nn.Module:
        return TwoFlows(inputs, outputs, stride)

    def branch(self, inputs: int, outputs: int, stride: int) -> tuple[ConvNormAct, ...]:
        return (
            ConvNormAct(inputs, outputs, 3, stride),
            ConvNormAct(outputs, outputs, 3, activation=None),
        )


class ShakeBottleneck(ShakeBlock):
    """Branches of 1×1, 3×3 in four groups, 1×1, the ReLU after the sum: section 2.2."""

    def projection(self, inputs: int, outputs: int, stride: int) -> nn.Module:
        return ConvNormAct(inputs, outputs, stride=stride, activation=None)

    def branch(self, inputs: int, outputs: int, stride: int) -> tuple[ConvNormAct, ...]:
        return (
            ConvNormAct(inputs, outputs),
            ConvNormAct(outputs, outputs, 3, stride, groups=4),
            ConvNormAct(outputs, outputs, activation=None),
        )


class ShakeShake(Network):
    """A 3×3 convolution, three stages of blocks with two branches each, a linear classifier.

    Args:
        block: :class:`ShakeBasic` or :class:`ShakeBottleneck`.
        layers: number of blocks of each stage.
        widths: channels of each stage.
        stem_width: channels of the stem.
        backward: see :class:`Shake`.
        num_classes: number of outputs.
        in_channels: channels of the image.
        se: a function that makes the blocks of attention; ``None`` for the plain network.

    Shape:
        ``[B, in_channels, H, W]`` to logits ``[B, num_classes]``.

    Raises:
        ValueError: if an option is out of range.
    """

    def __init__(
        self,
        block: type[ShakeBasic] | type[ShakeBottleneck],
        layers: Iterable[int],
        widths: Iterable[int],
        *,
        stem_width: int,
        backward: str,
        num_classes: int = 10,
        in_channels: int = 3,
        se: Attend | None = None,
    ) -> None:
        super().__init__()
        seed = draw_seed()
        layers, widths = tuple(layers), tuple(widths)
        if len(layers) != len(widths):
            raise ValueError(f"layers={layers} and widths={widths} must name the same stages")
        activation = None if block.preactivation else nn.ReLU
        self.conv1 = ConvNormAct(in_channels, stem_width, 3, activation=activation)
        self.stages = tuple(f"layer{i + 1}" for i in range(len(layers)))
        channels = stem_width
        for i, (name, blocks, width) in enumerate(zip(self.stages, layers, widths, strict=True)):
            stage = nn.Sequential()
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                stage.append(block(channels, width, stride, i + 2, backward, se))
                channels = width
            self.add_module(name, stage)
        self.relu = nn.ReLU() if block.preactivation else None
        self.make_head(channels, num_classes)
        initialise(self, seed)

    def stem(self, x: Tensor) -> Tensor:
        return self.conv1(x)

    def finish(self, x: Tensor) -> Tensor:
        return x if self.relu is None else self.relu(x)


NETWORKS: dict[str, dict[str, Any]] = {
    "shake_shake_26_2x96d": {
        "block": ShakeBasic, "layers": (4, 4, 4), "widths": (96, 192, 384),
        "stem_width": 16, "backward": "shake",
    },
    "shake_even_29_2x4x64d": {
        "block": ShakeBottleneck, "layers": (3, 3, 3), "widths": (256, 512, 1024),
        "stem_width": 64, "backward": "even",
    },
}  # fmt: skip

for _name, _variant in NETWORKS.items():
    register_twins(_name, partial(ShakeShake, **_variant), CIFAR, num_classes=10)
