"""Networks as backbones of detectors and segmenters: feature maps instead of logits."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn

from senet.models.network import Network


class Pyramid(nn.Module):
    """A network that returns its feature maps at given levels, the finest first.

    Level 0 is the output of the stem, level k the output of the k-th stage: in an ImageNet ResNet
    levels 1 … 4 have the strides 4, 8, 16 and 32, conv2_x to conv5_x of the paper. Layers after the
    last given level are left out, the classifier too.

    Args:
        network: the network; its parts are taken over, not copied.
        levels: levels in rising order.

    Attributes:
        network: the parts of the network that the maps need, by their names.
        levels: the levels, as given.
        channels: the channels of each map.
        strides: the stride of each map: pixels of the image per step in the map.

    Raises:
        ValueError: if the network has no such level.

    Shape:
        ``[B, in_channels, H, W]`` to a list of ``[B, channels[i], H / strides[i], W / strides[i]]``
        (rounded up).

    Example:
        >>> from senet import create_model
        >>> backbone = create_model("se_resnet50", features=(1, 2, 3, 4))
        >>> backbone.channels, backbone.strides
        ((256, 512, 1024, 2048), (4, 8, 16, 32))
        >>> [tuple(x.shape) for x in backbone(torch.randn(1, 3, 64, 64))]
        [(1, 256, 16, 16), (1, 512, 8, 8), (1, 1024, 4, 4), (1, 2048, 2, 2)]
    """

    def __init__(self, network: Network, levels: Sequence[int]) -> None:
        super().__init__()
        levels = tuple(levels)
        deepest = len(network.stages)
        rising = all(a < b for a, b in pairwise(levels))
        if not levels or not rising or levels[0] < 0 or levels[-1] > deepest:
            raise ValueError(
                f"features={levels} must be rising levels of {network.architecture.name}, which "
                f"has 0 (the stem) to {deepest}"
            )
        children = dict(network.named_children())
        names = list(children)
        stem_ends = names[names.index(network.stages[0]) - 1]
        ends = [(stem_ends, *network.stages)[level] for level in levels]
        self.levels = levels
        self.ends = tuple(ends)
        # A network is the chain of its children.
        needed = names[: names.index(ends[-1]) + 1]
        self.network = nn.ModuleDict({name: children[name] for name in needed})
        self.channels, self.strides = self._seen(network.architecture.in_channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for name, part in self.network.items():
            x = part(x)
            if name in self.ends:
                maps.append(x)
        return maps

    def _seen(self, in_channels: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the channels and strides of the maps, from a run on the meta device."""
        copy = deepcopy(self).eval().to("meta")
        # Two images, since a convolution without padding makes a map smaller than its stride says.
        small, large = 256, 512
        with torch.no_grad():
            maps, wide = (
                copy(torch.empty(1, in_channels, s, s, device="meta")) for s in (small, large)
            )
        return (
            tuple(x.shape[1] for x in maps),
            tuple(
                (large - small) // (y.shape[-1] - x.shape[-1])
                for x, y in zip(maps, wide, strict=True)
            ),
        )
