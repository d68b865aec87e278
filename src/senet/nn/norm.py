"""The tail that residual networks repeat: batch norm, then SE, then shortcut, then ReLU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from senet.nn.hooks import hooked
from senet.nn.squeeze_excitation import SqueezeExcitation
from senet.ops import backend, fused


def norm_act(
    x: Tensor,
    bn: nn.Module,
    se: nn.Module | None = None,
    shortcut: Tensor | None = None,
    relu: bool = True,
) -> Tensor:
    """Batch norm of a convolution's output ``x``, and all that follows it in a residual network.

    y = relu(se(bn(x)) + shortcut), with the parts that are not given left out. It runs as two
    streaming passes (:mod:`senet.ops.fused`) where a backend has them, and module by module where
    somebody watches with hooks, a module is of an unknown kind, or the network is being exported.
    Both give the same result.

    Args:
        x: output of a convolution, ``[B, C, H, W]``.
        bn: its batch norm; ``nn.Identity`` where that has been folded into the convolution.
        se: the :class:`~senet.nn.SqueezeExcitation` of the branch.
        shortcut: what the branch is added to, of the shape of ``x``.
        relu: whether a ReLU ends it.

    Example:
        >>> norm_act(torch.randn(2, 8, 4, 4), nn.BatchNorm2d(8)).min() >= 0
        tensor(True)
    """
    group = _group(bn)
    if not (_known(x, bn, se, shortcut) and (group is not None or backend.fuses(x))):
        u = bn(x)
        if se is not None:
            u = se(u)
        if shortcut is not None:
            u = u + shortcut
        return F.relu(u) if relu else u

    excitation = None if se is None else se.excitation()  # type: ignore[operator]
    if not isinstance(bn, _BatchNorm):
        return fused.norm_act(x, None, excitation, shortcut, relu)[0]
    if bn.training or bn.running_mean is None:
        norm = fused.Norm(bn.weight, bn.bias, None, None, bn.eps, group)
    else:
        norm = fused.Norm(bn.weight, bn.bias, bn.running_mean, bn.running_var, bn.eps)
    y, mean, var = fused.norm_act(x, norm, excitation, shortcut, relu)
    if bn.training and bn.track_running_stats and mean is not None and var is not None:
        _track(bn, mean, var)
    return y


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.Identity)


def _known(x: Tensor, bn: nn.Module, se: nn.Module | None, shortcut: Tensor | None) -> bool:
    """Whether the fused form does what these modules would do, and nobody watches them do it."""
    if type(bn) not in _NORMS or hooked(bn):  # a subclass may add an activation, or anything
        return False
    if shortcut is not None and (shortcut.shape != x.shape or shortcut.dtype != x.dtype):
        return False
    if se is not None and not (isinstance(se, SqueezeExcitation) and se.fuses()):
        return False
    return x.numel() > 0


def _group(bn: nn.Module) -> Any:
    """The processes that share the statistics of ``bn``, or ``None`` for this one alone."""
    if not (isinstance(bn, nn.SyncBatchNorm) and bn.training and distributed.is_initialized()):
        return None
    group = bn.process_group or distributed.group.WORLD
    return group if distributed.get_world_size(group) > 1 else None


def _track(bn: _BatchNorm, mean: Tensor, var: Tensor) -> None:
    """Move the running statistics towards those of the batch, as PyTorch's batch norm does."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    assert bn.num_batches_tracked is not None
    with torch.no_grad():
        bn.num_batches_tracked += 1
        # Without a momentum the statistics are the plain average over all batches seen.
        weight = bn.momentum if bn.momentum is not None else 1 / bn.num_batches_tracked.float()
        for running, batch in ((bn.running_mean, mean), (bn.running_var, var)):
            running.copy_(torch.lerp(running.to(batch.dtype), batch, weight))
