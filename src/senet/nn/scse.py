"""Concurrent spatial and channel squeeze-and-excitation: what matters, and where."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from senet.nn.attention import Attention, rescale
from senet.nn.squeeze_excitation import bottleneck
from senet.ops import reference

COMBINE = {"sum": torch.add, "max": torch.maximum}


class ConcurrentSqueezeExcitation(Attention):
    """Rescale every channel by what the whole image says, and every position by its channels.

    s = sigmoid(W2 relu(W1 z)) with z the mean over space, as in SE; q = sigmoid(w · u), one number
    a position; output = s · u + q · u: scSE, arXiv 1803.02579, equations 1 to 3.

    Args:
        channels: C, the channels of the map.
        reduction: r of the channel half. 16 is the usual of SE, so that scSE adds its spatial half
            to that and changes nothing else; the paper takes 2.
        combine: ``"sum"`` of the two rescaled maps, as the paper writes, or the ``"max"`` of them,
            number by number, as the authors' code has it.

    Attributes:
        gate: of the channels; s is what is recorded of the block.

    Shape:
        ``[B, C, *space]`` to the same.

    Raises:
        ValueError: if C // r would be less than one channel, or ``combine`` is unknown.

    Example:
        >>> scse = ConcurrentSqueezeExcitation(64)
        >>> u = torch.randn(2, 64, 7, 7)
        >>> scse(u).shape, scse.gates(u).shape, scse.spatial_gates(u).shape
        (torch.Size([2, 64, 7, 7]), torch.Size([2, 64]), torch.Size([2, 1, 7, 7]))
    """

    def __init__(self, channels: int, reduction: int = 16, *, combine: str = "sum") -> None:
        super().__init__()
        if combine not in COMBINE:
            raise ValueError(f"combine must be one of {tuple(COMBINE)}, got {combine!r}")
        squeeze_channels = bottleneck(channels, reduction)
        self.fc1 = nn.Conv2d(channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, channels, 1)
        self.spatial = nn.Conv2d(channels, 1, 1)
        self.combine = combine
        self.gate = nn.Sigmoid()

    def forward(self, u: Tensor) -> Tensor:
        by_channel = rescale(u, self.gates(u))
        by_position = u * self.spatial_gates(u).to(u.dtype)
        return COMBINE[self.combine](by_channel, by_position)

    def gates(self, u: Tensor) -> Tensor:
        """S of the channel half, ``[B, C]``."""
        w1, w2 = self.fc1.weight.flatten(1), self.fc2.weight.flatten(1)
        z = reference.squeeze(u)
        return reference.excite(z, w1, self.fc1.bias, w2, self.fc2.bias, gate=self.gate)

    def spatial_gates(self, u: Tensor) -> Tensor:
        """Q, ``[B, 1, *space]``: one number a position."""
        q = self.spatial(u.flatten(2)[..., None])  # two dimensions, whatever the map has
        return torch.sigmoid(q).reshape(u.shape[0], 1, *u.shape[2:])

    def extra_repr(self) -> str:
        return f"combine={self.combine!r}"
