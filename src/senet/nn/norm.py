"""The tail that residual networks repeat: batch norm, then SE, then shortcut, then ReLU."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def norm_act(
    x: Tensor,
    bn: nn.Module,
    se: nn.Module | None = None,
    shortcut: Tensor | None = None,
    relu: bool = True,
) -> Tensor:
    """Batch norm of a convolution's output ``x``, and all that follows it in a residual network.

    y = relu(se(bn(x)) + shortcut), with the parts that are not given left out.

    Args:
        x: output of a convolution, ``[B, C, H, W]``.
        bn: its batch norm.
        se: the :class:`~senet.nn.SqueezeExcitation` of the branch.
        shortcut: what the branch is added to, of the shape of ``x``.
        relu: whether a ReLU ends it.

    Example:
        >>> import torch
        >>> norm_act(torch.randn(2, 8, 4, 4), nn.BatchNorm2d(8)).min() >= 0
        tensor(True)
    """
    u = bn(x)
    if se is not None:
        u = se(u)
    if shortcut is not None:
        u = u + shortcut
    return F.relu(u) if relu else u
