"""Efficient channel attention: SE whose two layers have become one small convolution."""

from __future__ import annotations

import math

from torch import Tensor, nn

from senet.nn.channel_attention import ChannelAttention
from senet.ops import reference


class EfficientChannelAttention(ChannelAttention):
    """Rescale every channel by what it and its neighbours hold: k weights in all.

    z = mean over space of u, s = sigmoid(conv1d(z)) along the channels with k weights and zeros
    beyond the ends, output = s · u: ECA, arXiv 1910.03151, equations 9 and 12. There is no
    bottleneck, and one set of weights serves all channels.

    Args:
        channels: C, the channels of the feature map.
        kernel_size: k, odd; by default :func:`adaptive_kernel_size`.

    Shape:
        ``[B, C, *space]`` to the same.

    Raises:
        ValueError: if k is even or less than 1.

    Example:
        >>> import torch
        >>> eca = EfficientChannelAttention(256)
        >>> eca.conv.weight.shape, eca(torch.randn(2, 256, 7, 7)).shape
        (torch.Size([1, 1, 5]), torch.Size([2, 256, 7, 7]))
    """

    def __init__(self, channels: int, kernel_size: int | None = None) -> None:
        super().__init__()
        k = adaptive_kernel_size(channels) if kernel_size is None else kernel_size
        if k < 1 or k % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd and at least 1, so that every channel is in the middle "
                f"of its neighbours; got {k}"
            )
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)
        self.gate = nn.Sigmoid()

    def excitation(self, u: Tensor) -> Tensor:
        z = reference.squeeze(u)
        return self.gate(self.conv(z.unsqueeze(1)).squeeze(1))


def adaptive_kernel_size(channels: int) -> int:
    """Return the odd number k nearest to (log2 C + b) / γ, with the paper's γ = 2 and b = 1.

    Halfway between two odd numbers the larger is taken, as in the authors' networks.

    Example:
        >>> [adaptive_kernel_size(channels) for channels in (16, 64, 128, 256, 512, 2048)]
        [3, 3, 5, 5, 5, 7]
    """
    if channels < 1:
        raise ValueError(f"channels must be at least 1, got {channels}")
    t = (math.log2(channels) + 1) / 2
    return 2 * math.floor(t / 2) + 1
