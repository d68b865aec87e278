"""Batch norm as an affine map per channel: u = a x̂ + β, with a = γ/σ and x̂ = x − μ.

Let b index images, c channels and n the N positions of the map, M = B·N.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from senet.ops import passes, synchronise
from senet.ops.precision import accumulator, wide


class Norm(NamedTuple):
    """The arguments of :func:`torch.nn.functional.batch_norm`, in its order.

    Attributes:
        running_mean: ``[C]``; updated in training, μ itself in evaluation. ``None`` if no
            statistics are kept: then those of the batch are always used.
        running_var: likewise, σ² − eps.
        weight: γ, ``[C]``, or ``None`` for 1.
        bias: β, ``[C]``, or ``None`` for 0.
        training: whether μ and σ are those of the batch.
        momentum: weight of the batch in the running statistics.
        eps: added to the variance.
        group: the processes over whose batches statistics are taken (SyncBatchNorm), or ``None``.
    """

    running_mean: Tensor | None = None
    running_var: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5
    group: Any = None

    @property
    def learns(self) -> bool:
        """Whether the statistics are those of the batch."""
        return self.training or self.running_mean is None


class Affine(NamedTuple):
    """The map u = a (x − μ) + β, and what else the pass over the statistics found.

    Attributes:
        μ: ``[C]``, or ``None`` for 0.
        var: σ² − eps, ``[C]``, or ``None`` where there is no norm.
        σ: ``[C]``, likewise.
        a: γ/σ, ``[C]``.
        β: ``[C]``.
        m: meanₙ (x − μ), ``[B, C]``, or ``None`` if no pass has computed it.
        M: values per channel, over all processes.
    """

    μ: Tensor | None
    var: Tensor | None
    σ: Tensor | None
    a: Tensor
    β: Tensor
    m: Tensor | None
    M: Any


def affine(x: Tensor, norm: Norm | None) -> Affine:
    """Return the affine map of ``norm`` for ``x``. Batch statistics take one reading pass.

    Raises:
        ValueError: if the statistics are those of the batch, and it has one value per channel.
    """
    N, M = sizes(x)
    if norm is None:
        one = torch.ones(x.shape[1], dtype=accumulator(x.dtype), device=x.device)
        return Affine(None, None, None, one, torch.zeros_like(one), None, M)
    γ, β, m = wide(norm.weight, x), wide(norm.bias, x), None
    if norm.learns:
        μ, var, M, pivot, total = _statistics(x, norm.group)
        m = total / N - (μ - pivot)
    else:
        μ, var = wide(norm.running_mean, x), wide(norm.running_var, x)
    σ = torch.sqrt(var + norm.eps)
    a = 1 / σ if γ is None else γ / σ
    return Affine(μ, var, σ, a, torch.zeros_like(a) if β is None else β, m, M)


def track(norm: Norm | None, of: Affine) -> None:
    """Update the running statistics from those of the batch, as PyTorch's batch norm does."""
    if norm is None or not norm.training or norm.running_mean is None:
        return
    assert of.μ is not None
    assert of.var is not None
    assert norm.running_var is not None
    var = of.var * (of.M / (of.M - 1))  # unbiased
    k = norm.momentum
    for running, batch in ((norm.running_mean, of.μ), (norm.running_var, var)):
        # Through `data`: PyTorch's batch norm, which saves them for its backward and may have been
        # called before, also updates them without autograd noticing.
        if running.dtype == batch.dtype:
            running.data.mul_(1 - k).add_(batch, alpha=k)  # infinite ones stay so, unlike in lerp_
        else:
            running.data.copy_((1 - k) * running.to(batch.dtype) + k * batch)


def sizes(x: Tensor) -> tuple[int, Any]:
    """Return N and M = B·N."""
    N = math.prod(x.shape[2:])
    return N, x.shape[0] * N


def require_several(x: Tensor) -> Any:
    """Return M, the number of values per channel.

    Raises:
        ValueError: if there is only one, which has no statistics.
    """
    _, M = sizes(x)
    if M <= 1:
        raise ValueError(
            f"batch norm in training needs more than one value per channel, got {tuple(x.shape)}"
        )
    return M


class _Batch(NamedTuple):
    """The statistics of a batch, from one pass.

    Attributes:
        mean: μ, ``[C]``.
        var: biased, ``[C]``.
        count: M, of all processes together.
        pivot: a number near μ, ``[C]``.
        total: Σₙ (x − pivot), ``[B, C]``.
    """

    mean: Tensor
    var: Tensor
    count: Any
    pivot: Tensor
    total: Tensor


def _statistics(x: Tensor, group: Any) -> _Batch:
    """Compute the mean and variance of the batch, in one pass."""
    M = require_several(x)
    pivot = _pivot(x)
    total, squares = passes.moments(x, pivot)
    shift = total.sum(0) / M
    var = (squares.sum(0) / M - shift * shift).clamp(min=0)
    μ = pivot + shift
    if group is not None:
        μ, var, M = synchronise.statistics(μ, var, M, group)
    return _Batch(μ, var, M, pivot, total)


def _pivot(x: Tensor) -> Tensor:
    """Return a number near the mean of each channel: the mean of some positions of a few images.

    The sum of squares about it does not cancel, however large the mean is. The positions are spread
    over the image, since values at its border differ from the others because of the padding of
    convolutions. The result does not depend on the number, so no gradient flows through it.
    """
    positions = x.detach()[:4].flatten(2).movedim(1, -1)
    step = max(positions.shape[1] // 8, 1)
    few = positions[:, step // 2 :: step].reshape(-1, x.shape[1])
    return few.mean(0, dtype=accumulator(x.dtype))
