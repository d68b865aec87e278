"""The pieces of Inception networks: parallel branches, and attention to their concatenation.

A module applies windows of several sizes to the same feature map, and concatenates the results:
Szegedy et al., arXiv 1409.4842, section 4. A network is a table of modules, and a module is a table
of branches; the tables are in the file of each family.

SE comes after the concatenation: the whole module is the transformation F_tr (Figure 2 of arXiv
1709.01507v4). All modules have it, also those that halve the map, as in the definition that the
authors published (SE-BN-Inception.prototxt, github.com/hujie-frank/SENet). The place is
:class:`Inception`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from senet.models.attention import Attend
from senet.models.initialise import draw_seed, initialise
from senet.models.network import Network
from senet.nn import ConvNormAct


@dataclass(frozen=True)
class Conv:
    """A convolution with its batch norm and ReLU; ``padding=None`` keeps the size at stride 1."""

    outputs: int
    kernel_size: int | tuple[int, int] = 1
    stride: int = 1
    padding: int | None = None


Layer: TypeAlias = "Conv | Callable[[], nn.Module] | Mapping[str, Sequence[Layer]]"
"""An entry of a table: a convolution, a pooling, or branches, each of successive layers."""


class Branches(nn.ModuleDict):
    """The outputs of several branches on the same map, concatenated.

    Args:
        inputs: channels of the input.
        table: names of the branches, and their layers.
        eps: epsilon of the batch norms.

    Attributes:
        outputs: channels of the output.

    Example:
        >>> branches = Branches(8, {"1x1": [Conv(2)], "3x3": [Conv(4), Conv(6, 3)]}, eps=1e-3)
        >>> branches(torch.randn(2, 8, 5, 5)).shape
        torch.Size([2, 8, 5, 5])
    """

    def __init__(self, inputs: int, table: Mapping[str, Sequence[Layer]], eps: float) -> None:
        super().__init__()
        self.outputs = 0
        for name, layers in table.items():
            branch, channels = nn.Sequential(), inputs
            for layer in layers:
                module, channels = build(layer, channels, eps)
                branch.append(module)
            self[name] = branch
            self.outputs += channels

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for branch in self.values():
            maps.append(branch(x))
        return torch.cat(maps, 1)


def build(layer: Layer, inputs: int, eps: float) -> tuple[nn.Module, int]:
    """Return the module that ``layer`` describes, and the number of its output channels."""
    if isinstance(layer, Conv):
        size, stride, padding = layer.kernel_size, layer.stride, layer.padding
        conv = ConvNormAct(inputs, layer.outputs, size, stride, padding, eps=eps)
        return conv, layer.outputs
    if isinstance(layer, Mapping):
        branches = Branches(inputs, layer, eps)
        return branches, branches.outputs
    return layer(), inputs


class Inception(nn.Module):
    """Branches, and attention to their concatenation."""

    def __init__(
        self,
        inputs: int,
        table: Mapping[str, Sequence[Layer]],
        stage: int,
        se: Attend | None,
        eps: float,
    ) -> None:
        super().__init__()
        self.branches = Branches(inputs, table, eps)
        self.se = None if se is None else se(self.branches.outputs, stage)

    def forward(self, x: Tensor) -> Tensor:
        x = self.branches(x)
        return x if self.se is None else self.se(x)


class InceptionNetwork(Network):
    """Five stages, of which the first is the stem, and a linear classifier.

    The numbers of the stages are those of the SE paper, and level k of a feature pyramid is the map
    of stage k + 1, at stride 2^(k + 1). A module that halves the map opens a stage.

    Args:
        table: for each stage the names of its layers, and the layers.
        eps: epsilon of the batch norms.
        num_classes: number of outputs.
        in_channels: channels of the image.
        dropout: share of the pooled features that training drops.
        se: a function that makes the blocks of attention; ``None`` for the plain network.
    """

    stages = ("stage2", "stage3", "stage4", "stage5")
    if TYPE_CHECKING:
        stage1: nn.Sequential

    def __init__(
        self,
        table: Iterable[Mapping[str, Any]],
        eps: float,
        num_classes: int,
        in_channels: int,
        dropout: float,
        se: Attend | None,
    ) -> None:
        super().__init__()
        seed, channels = draw_seed(), in_channels
        for number, layers in enumerate(table, start=1):
            stage = nn.Sequential()
            for name, layer in layers.items():
                module, channels = self.block(layer, channels, number, se, eps)
                stage.add_module(name, module)
            self.add_module(f"stage{number}", stage)
        self.make_head(channels, num_classes, dropout)
        initialise(self, seed)

    def block(
        self, layer: Any, inputs: int, stage: int, se: Attend | None, eps: float
    ) -> tuple[nn.Module, int]:
        """Return the module that ``layer`` of a stage describes, and its output channels."""
        if isinstance(layer, Mapping):
            module = Inception(inputs, layer, stage, se, eps)
            return module, module.branches.outputs
        return build(layer, inputs, eps)

    def stem(self, x: Tensor) -> Tensor:
        return self.stage1(x)
