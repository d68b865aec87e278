"""Concurrent spatial and channel squeeze-and-excitation: what matters, and where."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from senet.nn.channel_attention import ChannelAttention
from senet.nn.squeeze_excitation import bottleneck
from senet.ops import reference

COMBINE = ("sum", "max")


class ConcurrentSqueezeExcitation(ChannelAttention):
    """Rescale every channel by what the whole image says, and every position by its channels.

    s = sigmoid(W2 relu(W1 z)) with z the mean over space, as in SE; q = sigmoid(w · u), one number
    per position; output = s · u + q · u: scSE, arXiv 1803.02579, equations 1 to 3.

    Args:
        channels: C, the channels of the feature map.
        reduction: r of the channel half. The default is SE's, 16, so that scSE adds its spatial
            half to SE and changes nothing else; the paper uses 2.
        combine: ``"sum"`` of the two rescaled maps, as in the paper, or their elementwise
            ``"max"``, as in the authors' code.

    Attributes:
        gate: the module that makes s, the gates of the channels; s is what is recorded.

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
            raise ValueError(f"combine must be one of {COMBINE}, got {combine!r}")
        squeeze_channels = bottleneck(channels, reduction)
        self.fc1 = nn.Conv2d(channels, squeeze_channels, 1)
        self.activation = nn.ReLU()
        self.fc2 = nn.Conv2d(squeeze_channels, channels, 1)
        self.gate = nn.Sigmoid()
        self.spatial = nn.Conv2d(channels, 1, 1)
        self.spatial_gate = nn.Sigmoid()
        self.combine = combine

    def forward(self, u: Tensor) -> Tensor:
        by_channel = reference.scale(u, self.excitation(u))
        by_position = reference.scale(u, self.spatial_gates(u))
        if self.combine == "sum":
            return by_channel + by_position
        return torch.maximum(by_channel, by_position)

    def excitation(self, u: Tensor) -> Tensor:
        """Return the gates s of the channel half, ``[B, C, 1, 1]``."""
        z = reference.squeeze(u)[:, :, None, None]
        return self.gate(self.fc2(self.activation(self.fc1(z))))

    def spatial_gates(self, u: Tensor) -> Tensor:
        """Return the gates q of the spatial half, ``[B, 1, *space]``: one number per position."""
        q = self.spatial(u.flatten(2).unsqueeze(2))  # two dimensions, whatever the map has
        return self.spatial_gate(q).reshape_as(u[:, :1])

    def extra_repr(self) -> str:
        return f"combine={self.combine!r}"
