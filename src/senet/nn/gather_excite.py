"""Gather-excite without parameters: what SE's squeeze does on its own, over any extent."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from senet.nn.attention import Attention
from senet.ops import reference

_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class GatherExcite(Attention):
    """Rescale every channel by the sigmoid of its own mean, over the image or around the position.

    gather: the mean of u over windows of 2e − 1 positions a side, e apart (what of them lies
    outside the map is not counted); excite: s = sigmoid(nearest(gathered)), brought back to the
    size of u; output = s · u: GE-θ⁻, arXiv 1810.12348, section 3. There is nothing to learn.

    Args:
        channels: of the map, as every block takes them; nothing here depends on them.
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

    def gates(self, u: Tensor) -> Tensor:
        if self.extent is None:
            return self.gate(reference.squeeze(u))
        return self.gate(F.interpolate(_gather(u, self.extent), u.shape[2:], mode="nearest"))

    def extra_repr(self) -> str:
        return f"extent={self.extent}"


def _gather(u: Tensor, extent: int) -> Tensor:
    """Means of windows: ⌈H / extent⌉ by ⌈W / extent⌉ of them."""
    if u.dim() - 2 not in _POOLS:
        raise ValueError(
            f"extent={extent} is for maps of 1 to 3 spatial dimensions, got {tuple(u.shape)}: "
            "take extent=None, global, which is for any"
        )
    return _POOLS[u.dim() - 2](u, 2 * extent - 1, extent, extent - 1, count_include_pad=False)
