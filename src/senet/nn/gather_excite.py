"""Gather-excite without parameters: what SE's squeeze does on its own, over any extent."""

from __future__ import annotations

from torch import Tensor, fx, nn
from torch.nn import functional as F

from senet.nn.channel_attention import ChannelAttention
from senet.ops import reference

fx.wrap("_gather")  # it calls another pooling for feature maps of other dimensions


class GatherExcite(ChannelAttention):
    """Rescale every channel by the sigmoid of its own mean, over the image or around the position.

    Gather is the mean of u over windows of 2e − 1 positions a side, e apart (positions outside the
    feature map are not counted); excite is s = sigmoid(nearest(gathered)), brought back to the
    size of u; output = s · u: GE-θ⁻, arXiv 1810.12348, section 3. There is nothing to learn.

    Args:
        channels: the channels of the feature map, as for every block; nothing here depends on them.
        extent: e, the extent ratio; ``None`` for global: the mean over the whole map, which is the
            paper's best.

    Shape:
        ``[B, C, *space]`` to the same; with an extent, of one to three spatial dimensions.

    Raises:
        ValueError: if ``extent`` is less than 1, or a map has more dimensions than can be pooled.

    Example:
        >>> import torch
        >>> u = torch.randn(2, 64, 14, 14)
        >>> GatherExcite(64).gates(u).shape, GatherExcite(64, extent=4).gates(u).shape
        (torch.Size([2, 64]), torch.Size([2, 64, 14, 14]))
    """

    def __init__(self, channels: int, extent: int | None = None) -> None:
        super().__init__()
        if extent is not None and extent < 1:
            raise ValueError(f"extent must be at least 1, or None for global, got {extent}")
        self.extent = extent
        self.gate = nn.Sigmoid()

    def excitation(self, u: Tensor) -> Tensor:
        if self.extent is None:
            return self.gate(reference.squeeze(u))
        return self.gate(_gather(u, self.extent))

    def gates(self, u: Tensor) -> Tensor:
        return self.excitation(u)  # [B, C], or with an extent of the shape of u

    def extra_repr(self) -> str:
        return f"extent={self.extent}"


def _gather(u: Tensor, extent: int) -> Tensor:
    """Return the means of ⌈H / extent⌉ by ⌈W / extent⌉ windows, brought to the size of ``u``."""
    window, padding = 2 * extent - 1, extent - 1
    if u.dim() == 3:
        z = F.avg_pool1d(u, window, extent, padding, count_include_pad=False)
    elif u.dim() == 4:
        z = F.avg_pool2d(u, window, extent, padding, count_include_pad=False)
    elif u.dim() == 5:
        z = F.avg_pool3d(u, window, extent, padding, count_include_pad=False)
    else:
        raise ValueError(
            f"extent={extent} is for maps of 1 to 3 spatial dimensions, got {list(u.shape)}: "
            "use extent=None, global, which is for any"
        )
    return F.interpolate(z, u.shape[2:], mode="nearest")
