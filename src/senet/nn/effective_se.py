"""Effective squeeze-and-excitation: SE with one layer, without a bottleneck."""

from __future__ import annotations

from torch import Tensor, nn

from senet.nn.channel_attention import ChannelAttention
from senet.ops import reference


class EffectiveSqueezeExcitation(ChannelAttention):
    """Rescale every channel by what one layer sees in all channels: no bottleneck.

    z = mean over space of u, s = hardsigmoid(W z + b) with W of C×C, output = s · u: eSE of
    VoVNetV2, arXiv 1911.06667, equation 2. The paper writes a sigmoid; the authors' networks have
    the hard one, min(max(x + 3, 0), 6) / 6, and so has this block.

    Args:
        channels: C, the channels of the feature map.

    Shape:
        ``[B, C, *space]`` to the same.

    Example:
        >>> import torch
        >>> ese = EffectiveSqueezeExcitation(64)
        >>> ese(torch.randn(2, 64, 7, 7)).shape
        torch.Size([2, 64, 7, 7])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Hardsigmoid()

    def excitation(self, u: Tensor) -> Tensor:
        z = reference.squeeze(u)[:, :, None, None]
        return self.gate(self.fc(z))
