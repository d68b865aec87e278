"""The blocks of MobileNetV3 and EfficientNet: inverted residuals with SE in their middle.

Sandler et al., arXiv 1801.04381, Figure 3: a block is narrow outside and wide inside, and its
shortcut joins the narrow ends. MnasNet (arXiv 1807.11626, Figure 7) put SE into it: after the
depthwise convolution, its batch norm and its activation, on the wide map. The place is
:meth:`InvertedResidual.forward`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from senet.models.rename import rename
from senet.nn import ConvNormAct

Unit = Callable[..., ConvNormAct]


class SameConvNormAct(ConvNormAct):
    """A :class:`~senet.nn.ConvNormAct` that pads as TensorFlow's ``SAME`` does.

    The output has ceil(H / stride) rows for every kernel. If the number of rows of zeros is odd,
    the larger half is below: at stride 2 an even map gets k // 2 rows below it and one less above,
    where PyTorch's networks have k // 2 on both sides. The same holds for columns.

    Example:
        >>> SameConvNormAct(3, 8, 3, stride=2)(torch.randn(2, 3, 8, 9)).shape
        torch.Size([2, 8, 4, 5])
    """

    def __init__(
        self, inputs: int, outputs: int, kernel_size: int = 1, stride: int = 1, **options: Any
    ) -> None:
        # At stride 1 the two paddings are the same.
        super().__init__(inputs, outputs, kernel_size, stride, 0 if stride > 1 else None, **options)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.stride[0] > 1:
            x = _pad_as_tensorflow(x, self.conv.kernel_size[0], self.conv.stride[0])
        return self.activation(self.bn(self.conv(x)))


fx.wrap("_pad_as_tensorflow")  # it looks at the size of the feature map


def _pad_as_tensorflow(x: Tensor, kernel: int, stride: int) -> Tensor:
    height, width = x.shape[2], x.shape[3]
    rows = max((-(-height // stride) - 1) * stride + kernel - height, 0)
    columns = max((-(-width // stride) - 1) * stride + kernel - width, 0)
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


UNITS: dict[str, type[ConvNormAct]] = {"symmetric": ConvNormAct, "same": SameConvNormAct}


def unit_of(padding: str, eps: float) -> Unit:
    """Return the function that makes a family's convolutions with their norms and activations.

    Args:
        padding: ``"symmetric"``, k // 2 zeros on each side, or ``"same"``, as TensorFlow pads.
        eps: epsilon of the batch norms.

    Raises:
        ValueError: if the padding is unknown.

    Example:
        >>> unit_of("same", 1e-3)(3, 8, 3, stride=2).bn.eps
        0.001
    """
    if padding not in UNITS:
        raise ValueError(f"padding must be one of {tuple(UNITS)}, got {padding!r}")
    return partial(UNITS[padding], eps=eps)


class InvertedResidual(nn.Module):
    """1×1 to a wide map, depthwise k×k, attention, 1×1 to a narrow map, and the shortcut.

    Args:
        inputs: channels of the narrow input.
        expanded: channels of the wide map; if equal to ``inputs``, the first 1×1 is left out.
        outputs: channels of the narrow output; there is a shortcut if they are equal to
            ``inputs`` and the map keeps its size.
        kernel_size: k.
        stride: stride of the depthwise convolution.
        activation: a function that makes the activation of the wide map; the narrow one has none.
        se: the block of attention, for ``expanded`` channels.
        unit: see :func:`unit_of`.
        drop_path: see :func:`drop_path`.

    Shape:
        ``[B, inputs, H, W]`` to ``[B, outputs, H / stride, W / stride]``, rounded up.
    """

    def __init__(
        self,
        inputs: int,
        expanded: int,
        outputs: int,
        kernel_size: int,
        stride: int,
        activation: Callable[[], nn.Module],
        se: nn.Module | None,
        unit: Unit,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        wide = partial(unit, activation=activation)
        self.expand = nn.Identity() if expanded == inputs else wide(inputs, expanded)
        self.depthwise = wide(expanded, expanded, kernel_size, stride, groups=expanded)
        self.se = se
        self.project = unit(expanded, outputs, activation=None)
        self.has_shortcut = stride == 1 and inputs == outputs
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        u = self.depthwise(self.expand(x))
        u = self.project(u if self.se is None else self.se(u))
        if not self.has_shortcut:
            return u
        if self.training and self.drop_path > 0:
            u = drop_path(u, self.drop_path)
        return x + u


def drop_path(branch: Tensor, rate: float) -> Tensor:
    """Leave a residual branch out, image by image: stochastic depth (arXiv 1603.09382).

    Args:
        branch: output of the branch, ``[B, C, H, W]``.
        rate: probability that an image loses the branch; the others are divided by 1 - rate, which
            preserves the mean.

    Example:
        >>> drop_path(torch.ones(1000, 1, 1, 1), 0.5).unique()
        tensor([0., 2.])
    """
    kept = torch.empty_like(branch[:, :1, :1, :1]).bernoulli_(1 - rate)
    return branch * (kept / (1 - rate))


def translate_blocks(
    state: Mapping[str, Tensor], depths: Iterable[tuple[int, ...]]
) -> dict[str, Tensor]:
    """Return a state dict of timm or torchvision under our names of blocks and their neighbours.

    Both number blocks by rows of the paper's table, or throughout, and not by stages. Here the
    blocks are put in order and distributed over the stages.

    Args:
        state: names and tensors; our own names stay.
        depths: the numbers of blocks of the stages, for each variant of the family; the number of
            all blocks tells the variants apart.

    Example:
        >>> names = [f"blocks.{i}.0.conv_dw.weight" for i in range(3)]
        >>> list(translate_blocks(dict.fromkeys(names, torch.zeros(1)), [(2, 1)]))[1:]
        ['layer1.1.depthwise.conv.weight', 'layer2.0.depthwise.conv.weight']
    """
    state = rename(state, _LAYERS_ELSEWHERE)
    found = sorted({(int(m[1]), int(m[2])) for name in state if (m := _BLOCK.match(name))})
    stages = next((d for d in depths if sum(d) == len(found)), ())
    places = [f"layer{s}.{i}." for s, depth in enumerate(stages, start=1) for i in range(depth)]
    blocks = [
        (rf"^blocks\.{s}\.{i}\.", place) for (s, i), place in zip(found, places, strict=False)
    ]
    return rename(state, (*blocks, *_HEAD_ELSEWHERE))


_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.depthwise\.conv\.weight")

_LAYERS_ELSEWHERE = (
    # torchvision's names: the layers of a block are numbered, and the first block has no 1×1 before
    # its depthwise convolution.
    (r"^features\.(\d+)\.block\.", r"blocks.\1.0."),
    (r"^features\.(\d+)\.(\d+)\.block\.", r"blocks.\1.\2."),
    (r"^(blocks\.\d+\.\d+)\.\d\.(fc[12])\.", r"\1.se.\2."),
    (r"^(blocks\.1\.0)\.0\.([01])\.", r"\1.depthwise.\2."),
    (r"^(blocks\.1\.0)\.[12]\.([01])\.", r"\1.project.\2."),
    (r"^(blocks\.\d+\.\d+)\.0\.([01])\.", r"\1.expand.\2."),
    (r"^(blocks\.\d+\.\d+)\.1\.([01])\.", r"\1.depthwise.\2."),
    (r"^(blocks\.\d+\.\d+)\.[23]\.([01])\.", r"\1.project.\2."),
    (r"^features\.0\.([01])\.", r"conv1.\1."),
    (r"^features\.\d+\.([01])\.", r"head.\1."),
    (r"^(blocks\..*|conv1|head)\.0\.(weight)$", r"\1.conv.\2"),
    (r"^(blocks\..*|conv1|head)\.1\.(\w+)$", r"\1.bn.\2"),
    # timm's names, likewise.
    (r"^conv_stem\.", "conv1.conv."),
    (r"^bn1\.", "conv1.bn."),
    (r"\.se\.conv_reduce\.", ".se.fc1."),
    (r"\.se\.conv_expand\.", ".se.fc2."),
    (r"^(blocks\.0\.0)\.bn1\.", r"\1.depthwise.bn."),
    (r"^(blocks\.0\.0)\.conv_pw\.", r"\1.project.conv."),
    (r"^(blocks\.0\.0)\.bn2\.", r"\1.project.bn."),
    (r"^(blocks\.\d+\.\d+)\.conv_pw\.", r"\1.expand.conv."),
    (r"^(blocks\.\d+\.\d+)\.bn1\.", r"\1.expand.bn."),
    (r"^(blocks\.\d+\.\d+)\.conv_dw\.", r"\1.depthwise.conv."),
    (r"^(blocks\.\d+\.\d+)\.bn2\.", r"\1.depthwise.bn."),
    (r"^(blocks\.\d+\.\d+)\.conv_pwl\.", r"\1.project.conv."),
    (r"^(blocks\.\d+\.\d+)\.bn3\.", r"\1.project.bn."),
)

# timm's head of MobileNetV3 is one more block: the one that was not given to a stage.
_HEAD_ELSEWHERE = (
    (r"^blocks\.\d+\.0\.conv\.", "head.conv."),
    (r"^blocks\.\d+\.0\.expand\.bn\.", "head.bn."),
)
