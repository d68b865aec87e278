"""A network as the backbone of a detector or a segmenter: its maps instead of its logits."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn

from senet.models.network import Network


class Pyramid(nn.Module):
    """The maps of a network at the levels that are asked for, finest first.

    Level 0 is what the stem makes, level k what the k-th of the network's stages makes: in an
    ImageNet ResNet levels 1 … 4 are the strides 4, 8, 16 and 32, conv2_x to conv5_x of the paper.
    What comes after the last level that is asked for is left out, the classifier too.

    Args:
        network: is taken over, not copied.
        levels: rising numbers.

    Attributes:
        levels: as given.
        channels: of each map.
        strides: of each map: how many pixels of the image one step in it is.

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
        self.levels = levels
        self.network = network
        self.channels, self.strides, ran = self._seen()
        for name, _ in list(network.named_children()):
            if name not in ran:  # later stages, the classifier
                delattr(network, name)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.network.stem(x)
        maps = [x] if self.levels[0] == 0 else []
        for level, stage in enumerate(self.network.stages[: self.levels[-1]], start=1):
            x = self.network.get_submodule(stage)(x)
            if level in self.levels:
                maps.append(x)
        return maps

    def _seen(self) -> tuple[tuple[int, ...], tuple[int, ...], set[str]]:
        """Channels and strides of the maps, and the parts of the network that they need.

        Seen by running the network where shapes flow and nothing is computed.
        """
        copy = deepcopy(self).eval().to("meta")
        ran: set[str] = set()
        for name, part in copy.network.named_children():
            for module in part.modules():
                module.register_forward_hook(lambda *_, name=name: ran.add(name))
        # Two images, for a convolution without padding makes a map smaller than its stride says.
        small, large = 256, 512
        shape = 1, self.network.architecture.in_channels
        with torch.no_grad():
            maps, wide = (copy(torch.empty(*shape, s, s, device="meta")) for s in (small, large))
        return (
            tuple(x.shape[1] for x in maps),
            tuple(
                (large - small) // (y.shape[-1] - x.shape[-1])
                for x, y in zip(maps, wide, strict=True)
            ),
            ran,
        )
