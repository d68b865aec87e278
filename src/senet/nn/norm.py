"""What convolutional networks repeat after a convolution: batch norm, SE, activation.

In residual networks SE, the shortcut and the ReLU follow the norm (:func:`norm_act`); in
MobileNetV3, EfficientNet and RegNetY the activation does, and SE after it (:func:`norm_act_se`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from senet.nn.activation import name_of
from senet.nn.attention import Attention
from senet.nn.hooks import hooked
from senet.ops import activated, backend, fused
from senet.ops.norm import Norm


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
    the map is too small for them to pay, somebody watches with hooks, a module is of an unknown
    kind, or the network is being exported. Both give the same result.

    Args:
        x: output of a convolution, ``[B, C, H, W]``.
        bn: its batch norm; ``nn.Identity`` where that has been folded into the convolution.
        se: the :class:`~senet.nn.SqueezeExcitation` of the branch, or another attention that fuses.
        shortcut: what the branch is added to, of the shape of ``x``.
        relu: whether a ReLU ends it.

    Example:
        >>> norm_act(torch.randn(2, 8, 4, 4), nn.BatchNorm2d(8)).min() >= 0
        tensor(True)
    """
    if _fuses(x, bn, se, shortcut):
        return fused_tail(x, bn, se, shortcut, relu)
    return module_by_module(x, bn, se, shortcut, relu)


def norm_act_se(
    x: Tensor, bn: nn.Module, activation: nn.Module, se: nn.Module | None = None
) -> Tensor:
    """Batch norm of a convolution's output ``x``, then an activation, then SE.

    y = se(activation(bn(x))). It runs as three streaming passes, two without SE
    (:mod:`senet.ops.activated`), where :func:`norm_act` would run as two, and module by module
    elsewhere. Both give the same result. An attention of another kind runs as itself, after the
    passes of the rest.

    Args:
        x: output of a convolution, ``[B, C, H, W]``.
        bn: its batch norm; ``nn.Identity`` where that has been folded into the convolution.
        activation: any; the passes know those of :mod:`senet.nn.activation`.
        se: the block of attention after the activation.

    Example:
        >>> from senet.nn import SqueezeExcitation
        >>> x, bn = torch.randn(2, 8, 4, 4), nn.BatchNorm2d(8)
        >>> norm_act_se(x, bn, nn.SiLU(), SqueezeExcitation(8, 4)).shape
        torch.Size([2, 8, 4, 4])
    """
    name = name_of(activation)
    inside = se if isinstance(se, Attention) and se.fuses() else None
    if name is not None and _is_plain(bn) and pays(x, bn, inside, None):
        y = activated_tail(x, bn, name, inside)
        se = None if se is inside else se
    elif name == "relu":
        y = module_by_module(x, bn, None, None, relu=True)
    else:
        y = activation(norm_act(x, bn, relu=False))
    return y if se is None else se(y)


def conv_norm_act(
    h: Tensor,
    conv: nn.Conv2d,
    bn: nn.Module,
    se: nn.Module | None = None,
    shortcut: Tensor | None = None,
    relu: bool = True,
) -> Tensor:
    """``norm_act(conv(h), …)``, its squeeze taken before a 1×1 convolution where that is cheaper.

    The mean over space of W h + b is W mean(h) + b. In the bottlenecks h has a quarter of the
    channels, so in inference the gates cost a quarter of a reading pass instead of a whole one, as
    long as the map is large beside W, which has to be read too.

    Example:
        >>> from senet.nn import SqueezeExcitation
        >>> conv, bn = nn.Conv2d(4, 16, 1), nn.BatchNorm2d(16).eval()
        >>> se, h = SqueezeExcitation(16, 4), torch.randn(2, 4, 8, 8)
        >>> with torch.no_grad():
        ...     y = conv_norm_act(h, conv, bn, se)
        >>> torch.allclose(y, norm_act(conv(h), bn, se), atol=1e-5)
        True
    """
    x = conv(h)
    inference = not (torch.is_grad_enabled() or bn.training)
    early = se is not None and inference and _squeezes_early(conv, h, x)
    if not (early and _fuses(x, bn, se, shortcut)):
        return norm_act(x, bn, se, shortcut, relu)
    mean = fused.mean_after(h, conv.weight.flatten(1), conv.bias)
    return fused_tail(x, bn, se, shortcut, relu, mean)


def _squeezes_early(conv: nn.Conv2d, h: Tensor, x: Tensor) -> bool:
    """Whether the mean after ``conv`` can be known before it, and for less.

    On a CPU with C' = C/4 it pays from about B·N = C on: ``python -m benchmarks.ops.early``.
    """
    pointwise = conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.padding == (0, 0)
    large = x.numel() >= x.shape[1] ** 2 and h.shape[1] < x.shape[1]
    return pointwise and large and conv.groups == 1 and not hooked(conv)


def fused_tail(
    x: Tensor,
    bn: nn.Module,
    se: nn.Module | None,
    shortcut: Tensor | None,
    relu: bool,
    mean: Tensor | None = None,
) -> Tensor:
    """The tail on the passes, and the running statistics.

    Args:
        x: as in :func:`norm_act`.
        bn: likewise; any module with the parameters and buffers of a batch norm.
        se: anything with an ``excitation()``, see :class:`~senet.nn.attention.Attention`.
        shortcut: as in :func:`norm_act`.
        relu: likewise.
        mean: meanₙ x where it is known already, see :func:`conv_norm_act`.
    """
    if relu and se is None and shortcut is None:
        return activated_tail(x, bn, "relu", None)
    excitation = None if se is None else se.excitation()  # type: ignore[operator]
    norm = _norm_of(bn)
    if norm is not None and norm.mean is None:
        mean = None
    y, *batch = fused.norm_act(x, norm, excitation, shortcut, relu, mean)
    _track(bn, *batch)
    return y


def activated_tail(x: Tensor, bn: nn.Module, activation: str, se: nn.Module | None) -> Tensor:
    """The activated tail on the passes, and the running statistics.

    Args:
        x: as in :func:`norm_act_se`.
        bn: likewise; any module with the parameters and buffers of a batch norm.
        activation: a name of :data:`senet.ops.activation.ACTIVATIONS`.
        se: anything with an ``excitation()``, see :class:`~senet.nn.attention.Attention`.
    """
    excitation = None if se is None else se.excitation()  # type: ignore[operator]
    y, *batch = activated.norm_act_se(x, _norm_of(bn), activation, excitation)
    _track(bn, *batch)
    return y


def _norm_of(bn: nn.Module) -> Norm | None:
    """The batch norm as the passes take it; ``None`` where it was folded away."""
    if not isinstance(bn, _BatchNorm):
        return None
    if bn.training or bn.running_mean is None:
        return Norm(bn.weight, bn.bias, None, None, bn.eps, _group(bn))
    return Norm(bn.weight, bn.bias, bn.running_mean, bn.running_var, bn.eps)


def module_by_module(
    x: Tensor, bn: nn.Module, se: nn.Module | None, shortcut: Tensor | None, relu: bool
) -> Tensor:
    """The tail as its modules compute it."""
    u = bn(x)
    if se is not None:
        u = se(u)
    # A new map costs more than the addition; but one that somebody holds is not overwritten.
    ours = se is None and type(bn) in _NORMS and not hooked(bn) and u is not x
    if shortcut is not None:
        ours = ours and shortcut.shape == u.shape and shortcut.dtype == u.dtype
        u, ours = u.add_(shortcut) if ours else u + shortcut, True
    return F.relu(u, inplace=ours) if relu else u


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.Identity)


def _fuses(x: Tensor, bn: nn.Module, se: nn.Module | None, shortcut: Tensor | None) -> bool:
    """Whether the passes do what these modules would do, nobody watches them, and it pays."""
    if not _is_plain(bn):
        return False
    if se is not None and not (isinstance(se, Attention) and se.fuses()):
        return False
    return pays(x, bn, se, shortcut)


def _is_plain(bn: nn.Module) -> bool:
    """Whether it is a norm and no more: a subclass may add an activation, or anything."""
    return type(bn) in _NORMS and not hooked(bn)


def pays(x: Tensor, bn: nn.Module, se: nn.Module | None, shortcut: Tensor | None) -> bool:
    """Whether the passes take these maps, and gain by it."""
    if shortcut is not None and (shortcut.shape != x.shape or shortcut.dtype != x.dtype):
        return False
    if x.numel() == 0:
        return False
    # PyTorch's own SyncBatchNorm knows no CPU; the passes know every device.
    return backend.fuses(x, se is not None) or _group(bn) is not None


def _group(bn: nn.Module) -> Any:
    """The processes that share the statistics of ``bn``, or ``None`` for this one alone."""
    if not (isinstance(bn, nn.SyncBatchNorm) and bn.training and distributed.is_initialized()):
        return None
    group = bn.process_group or distributed.group.WORLD
    return group if distributed.get_world_size(group) > 1 else None


def _track(bn: nn.Module, mean: Tensor | None, var: Tensor | None) -> None:
    """Move the running statistics towards those of the batch, as PyTorch's batch norm does."""
    if mean is None or not (bn.training and bn.track_running_stats):
        return
    assert isinstance(bn, _BatchNorm)
    assert var is not None
    assert bn.running_mean is not None
    assert bn.running_var is not None
    assert bn.num_batches_tracked is not None
    with torch.no_grad():
        bn.num_batches_tracked.add_(1)  # in place: assigning to a module's buffer takes long
        # Without a momentum the statistics are the plain average over all batches seen.
        weight = bn.momentum if bn.momentum is not None else 1 / bn.num_batches_tracked.float()
        for running, batch in ((bn.running_mean, mean), (bn.running_var, var)):
            if running.dtype == batch.dtype:
                running.lerp_(batch, weight)
            else:
                running.copy_(torch.lerp(running.to(batch.dtype), batch, weight))
