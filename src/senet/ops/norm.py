"""Batch norm as the passes make it: an affine map a channel, u = a x̂ + β, with a = γ/σ, x̂ = x − μ.

Let b index images, c channels and n the N positions of the map, M = B·N.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from senet.ops import passes, synchronise


class Norm(NamedTuple):
    """The batch norm of a tail.

    Attributes:
        weight: γ, ``[C]``, or ``None`` for 1.
        bias: β, ``[C]``, or ``None`` for 0.
        mean: μ where it is a constant (evaluation), ``None`` where the batch decides it.
        var: σ² − eps, likewise.
        eps: is added to the variance.
        group: the processes over whose batches statistics are taken (SyncBatchNorm), or ``None``.
    """

    weight: Tensor | None
    bias: Tensor | None
    mean: Tensor | None = None
    var: Tensor | None = None
    eps: float = 1e-5
    group: Any = None


class Batch(NamedTuple):
    """What one pass finds out about a batch.

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


def learns(x: Tensor, bn: Norm | None) -> bool:
    """Whether the batch decides its own statistics.

    Raises:
        ValueError: if these would be of a single value a channel.
    """
    learn = bn is not None and bn.mean is None
    if learn and x.numel() <= x.shape[1]:
        raise ValueError(
            f"batch norm in training needs more than one value a channel, got {tuple(x.shape)}"
        )
    return learn


def statistics(x: Tensor, group: Any) -> Batch:
    """Mean and variance of the batch, in one pass."""
    _, M = sizes(x)
    pivot = _pivot(x)
    total, squares = passes.moments(x, pivot)
    shift = total.sum(0) / M
    var = (squares.sum(0) / M - shift * shift).clamp_(min=0)
    μ = pivot + shift
    if group is not None:
        μ, var, M = synchronise.statistics(μ, var, M, group)
    return Batch(μ, var, M, pivot, total)


def unbiased(var: Tensor, M: Any) -> Tensor:
    """What batch norm keeps for evaluation."""
    return var * (M / (M - 1))


def slope(γ: Tensor | None, σ: Tensor | None, x: Tensor) -> Tensor:
    """a = γ/σ, where a missing γ or σ is 1."""
    if σ is None:
        return torch.ones(x.shape[1], dtype=passes.accumulator(x.dtype), device=x.device)
    return 1 / σ if γ is None else γ / σ


def sizes(x: Tensor) -> tuple[int, Any]:
    """N and M = B·N."""
    N = math.prod(x.shape[2:])
    return N, x.shape[0] * N


def _pivot(x: Tensor) -> Tensor:
    """A number near the mean of each channel: the mean of some positions of a few images.

    About it the sum of squares does not cancel, however large the mean is. The positions are spread
    over the image, since at its border the padding of a convolution makes values unlike the others.
    """
    positions = x[:4].flatten(2).movedim(1, -1)
    step = max(positions.shape[1] // 8, 1)
    few = positions[:, step // 2 :: step].reshape(-1, x.shape[1])
    return few.mean(0, dtype=passes.accumulator(x.dtype))
