"""Squeeze-and-excitation inside the passes that batch norm makes anyway.

The tail of a residual branch is: convolution output x → batch norm → SE → + shortcut → ReLU → y.
Let b index images, c channels and n the N positions of the map, M = B·N, and take x about its
mean: x̂ = x − μ. Only x̂, y, g and their gradients are maps; all else is ``[B, C]`` or ``[C]``.

Forward. Batch norm is an affine map a channel, u = a x̂ + β with a = γ/σ. Hence

    z = a m + β            the squeeze of u, from m = meanₙ x̂, which the statistics pass holds
    A = s a,  D = s β      for scaling u by s = excite(z) is folding s into the affine map
    y = relu(A x̂ + D + shortcut)

Backward, with g = dy where y > 0, else 0: from S1 = Σₙ g and S2 = Σₙ g x̂ alone

    ds = a S2 + β S1       then back through the two small layers, to dz
    T1 = Σ_b (s S1 + dz)   = dβ
    T2 = Σ_b (s S2 + dz m) = σ dγ
    dx = A g + E − K x̂     with E = a (dz/N − T1/M) and K = a dγ / (σ M);  dshortcut = g

In evaluation μ and σ are constants, so K = 0 and E = a dz/N. Without SE s = 1 and dz = 0; without
batch norm a = 1, β = 0 and x̂ = x. That is all: the two passes forward and the two backward are the
ones that batch norm + shortcut + ReLU make without SE.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from senet.ops import once, passes, synchronise
from senet.ops.excitation import GATES, Excitation, excite, excite_backward
from senet.ops.norm import Norm, learns, sizes, slope, statistics, unbiased
from senet.ops.precision import full_precision, wide

__all__ = ["GATES", "Excitation", "Norm", "mean_after", "norm_act", "squeeze_excite"]


def squeeze_excite(x: Tensor, se: Excitation) -> Tensor:
    """Equations 2 to 4 on the passes: two forward, two backward.

    Args:
        x: feature map ``[B, C, *space]``, with any number of spatial dimensions.
        se: the two layers.

    Returns:
        s · x, like ``x``.

    Example:
        >>> se = Excitation(torch.ones(1, 2), None, torch.zeros(2, 1), None)
        >>> squeeze_excite(torch.ones(1, 2, 3), se)
        tensor([[[0.5000, 0.5000, 0.5000],
                 [0.5000, 0.5000, 0.5000]]])
    """
    return norm_act(x, None, se, relu=False)[0]


def norm_act(
    x: Tensor,
    bn: Norm | None,
    se: Excitation | None = None,
    shortcut: Tensor | None = None,
    relu: bool = True,
    mean: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """y = relu(se(bn(x)) + shortcut), with the parts that are not given left out.

    Args:
        x: map ``[B, C, *space]`` that a convolution made.
        bn: its batch norm, or ``None`` where that has been folded into the convolution.
        se: the SE block of the branch.
        shortcut: of the shape of ``x``.
        relu: whether a ReLU ends the tail.
        mean: meanₙ x, ``[B, C]``, where it is known already (:func:`mean_after`), for inference:
            then the squeeze needs no pass. No gradient flows through it.

    Returns:
        y, like ``x``; and the mean and the unbiased variance of the batch, ``[C]``, for running
        statistics: ``None`` where the statistics were given.

    Raises:
        ValueError: if the statistics of a single value are asked for.
        RuntimeError: in a second backward pass (gradients of gradients).

    Example:
        >>> y, mean, var = norm_act(torch.tensor([[[1.0, 3.0]]]), Norm(None, None, eps=0.0))
        >>> y, mean, var
        (tensor([[[0., 1.]]]), tensor([2.]), tensor([2.]))
    """
    learn = learns(x, bn)
    γ, β, μ, var, eps, group = bn or (None, None, None, None, 0.0, None)
    w1, b1, w2, b2, *kind = se or (None, None, None, None)
    given = x, shortcut, γ, β, μ, var, w1, b1, w2, b2, learn, eps, group, kind, relu, mean
    if torch.is_grad_enabled():
        return _Tail.apply(*given)  # type: ignore[return-value]
    return _forward(*given)[:3]  # nothing is kept for a backward, and no time spent on it


def mean_after(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """meanₙ (W h + b) = W meanₙ h + b: the mean after a 1×1 convolution, known before it runs.

    Args:
        h: what the convolution reads, ``[B, C', *space]``.
        weight: ``[C, C']``; bias: ``[C]`` or ``None``.

    Returns:
        ``[B, C]``, float32 for maps of a shorter type.

    Example:
        >>> mean_after(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[10.0]]), None)
        tensor([[20.]])
    """
    N, _ = sizes(h)
    with full_precision(h):
        return F.linear(passes.moments(h, None)[0] / N, wide(weight, h), wide(bias, h))


def _forward(x, shortcut, γ, β, μ, var, w1, b1, w2, b2, learn, eps, group, kind, relu, mean):
    """The first half of the formulas at the head of this file, in their order.

    Returns y; the mean and the unbiased variance of the batch, or ``None``; what the backward
    needs; and M.
    """
    N, M = sizes(x)
    γ, β, μ, var = (wide(v, x) for v in (γ, β, μ, var))
    with full_precision(x):
        m: Any = None
        if learn:
            μ, var, M, pivot, total = statistics(x, group)
            if kind:
                m = total / N - (μ - pivot)
        elif kind and mean is not None:
            m = mean if μ is None else mean - μ
        elif kind:
            m = passes.moments(x, μ)[0] / N

        σ = None if var is None else torch.sqrt(var + eps)
        a = slope(γ, σ, x)
        β = torch.zeros_like(a) if β is None else β
        if not kind:
            z = h = s = None
            A, D = a.expand(x.shape[:2]), β.expand(x.shape[:2])
        else:
            w1, b1, w2, b2 = (wide(v, x) for v in (w1, b1, w2, b2))
            z = a * m + β
            h, s = excite(z, Excitation(w1, b1, w2, b2, *kind))
            A, D = s * a, s * β
        y = passes.affine(x, μ, A, D, shortcut, relu)

    saved = x, y if relu else None, γ, β, μ, σ, m, z, h, s, w1, w2
    if not learn or var is None:
        return y, None, None, saved, M
    return y, μ, unbiased(var, M), saved, M


class _Tail(torch.autograd.Function):
    """The formulas with their gradients."""

    @staticmethod
    def forward(
        ctx: Any, x, shortcut, γ, β, μ, var, w1, b1, w2, b2, learn, eps, group, kind, relu, mean
    ):
        y, μ, var, saved, M = _forward(
            x, shortcut, γ, β, μ, var, w1, b1, w2, b2, learn, eps, group, kind, relu, mean
        )
        ctx.save_for_backward(*saved)
        ctx.options = M, learn, group, kind
        if learn:
            ctx.mark_non_differentiable(μ, var)
        return y, μ, var

    @staticmethod
    def backward(ctx: Any, dy, *_):  # type: ignore[override]
        x, y, γ, β, μ, σ, m, z, h, s, w1, w2 = ctx.saved_tensors
        M, learn, group, kind = ctx.options
        _, need_shortcut, need_γ, need_β, *_ = ctx.needs_input_grad
        N, _ = sizes(x)
        dγ = dβ = E = K = None
        excitation = [None, None, None, None]
        with torch.no_grad(), full_precision(x):
            a = slope(γ, σ, x)
            A = a.expand(x.shape[:2])
            if learn or kind or need_γ or need_β:
                S1, S2 = passes.grad_moments(dy, y, x, μ)
                if not kind:
                    T1, T2 = S1.sum(0), S2.sum(0)
                else:
                    ds = a * S2 + β * S1
                    se = Excitation(w1, None, w2, None, *kind)
                    dz, *excitation = excite_backward(ds, z, h, s, se)
                    T1, T2 = (s * S1 + dz).sum(0), (s * S2 + dz * m).sum(0)
                    A, E = s * a, a * dz / N
                if σ is not None:
                    dγ, dβ = T2 / σ, T1
                if learn:
                    assert σ is not None
                    if group is not None:
                        T1, T2 = synchronise.sums(T1, T2, group)
                    E = (0 if E is None else E) - a * T1 / M
                    E = E.expand(x.shape[:2])
                    K = a * T2 / (σ * σ * M)
            dx, dshortcut = passes.grad_affine(dy, y, x, μ, A, E, K, need_shortcut)
        grads = once.needed((dx, dshortcut, dγ, dβ, None, None, *excitation), ctx.needs_input_grad)
        return (*grads, None, None, None, None, None, None)
