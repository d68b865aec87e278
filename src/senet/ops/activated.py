"""Squeeze-and-excitation after an activation, as MobileNetV3, EfficientNet and RegNetY have it.

The unit is: convolution output x → batch norm → activation f → SE. The squeeze of f(u) follows from
no sum that the statistics pass holds; so it takes one more reading pass, and the forward has three.
Let b index images, c channels and n the N positions of the map, M = B·N, and take x about its mean:
x̂ = x − μ. Only x, y and their gradients are maps; all else is ``[B, C]`` or ``[C]``.

Forward, with a = γ/σ. The activation is computed wherever it is needed, and never kept:

    u = a x̂ + β
    z = meanₙ f(u)         the squeeze
    y = s f(u)             with s = excite(z)

Backward. The gradient of u is du = f'(u) (s dy + e), with e = dz/N, since f(u) reaches the loss
through the scale and, by its mean, through the gate. One reading pass gives five sums over n:

    S1 = Σ dy f'(u)        C1 = Σ f'(u)
    S2 = Σ dy f'(u) x̂      C2 = Σ f'(u) x̂      ds = Σ dy f(u)

ds goes back through the two small layers, to dz and e. With these

    T1 = Σ_b (s S1 + e C1) = dβ            which is the sum of du over the batch,
    T2 = Σ_b (s S2 + e C2) = σ dγ          and that of du x̂
    dx = a du − L − K x̂                    with L = a T1/M and K = a T2/(σ² M)

In evaluation μ and σ are constants, so L = K = 0. Without SE s = 1 and e = 0, and of the sums S1
and S2 remain; without batch norm a = 1, β = 0 and x̂ = x. For the backward x alone is kept, where
plain PyTorch keeps x, u and f(u).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from senet.ops import once, passes, synchronise
from senet.ops.excitation import Excitation, excite, excite_backward
from senet.ops.norm import Norm, learns, sizes, slope, statistics, unbiased
from senet.ops.precision import full_precision, wide


def norm_act_se(
    x: Tensor, bn: Norm | None, activation: str, se: Excitation | None = None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """y = se(f(bn(x))), with the norm or the SE left out that is not given.

    Args:
        x: map ``[B, C, *space]`` that a convolution made.
        bn: its batch norm, or ``None`` where that has been folded into the convolution.
        activation: f, a name of :data:`~senet.ops.activation.ACTIVATIONS`.
        se: the SE block after the activation.

    Returns:
        y, like ``x``; and the mean and the unbiased variance of the batch, ``[C]``, for running
        statistics: ``None`` where the statistics were given.

    Raises:
        ValueError: if the statistics of a single value are asked for.
        RuntimeError: in a second backward pass (gradients of gradients).

    Example:
        >>> y, mean, var = norm_act_se(torch.tensor([[[1.0, 3.0]]]), Norm(None, None), "hardswish")
        >>> y, mean, var
        (tensor([[[-0.3333,  0.6667]]]), tensor([2.]), tensor([2.]))
    """
    learn = learns(x, bn)
    γ, β, μ, var, eps, group = bn or (None, None, None, None, 0.0, None)
    w1, b1, w2, b2, *kind = se or (None, None, None, None)
    given = x, γ, β, μ, var, w1, b1, w2, b2, learn, eps, group, activation, kind
    if torch.is_grad_enabled():
        return _Unit.apply(*given)  # type: ignore[return-value]
    return _forward(*given)[:3]  # nothing is kept for a backward, and no time spent on it


def _forward(x, γ, β, μ, var, w1, b1, w2, b2, learn, eps, group, activation, kind):
    """The first half of the formulas at the head of this file, in their order.

    Returns y; the mean and the unbiased variance of the batch, or ``None``; what the backward
    needs; and M.
    """
    N, M = sizes(x)
    γ, β, μ, var, w1, b1, w2, b2 = (wide(v, x) for v in (γ, β, μ, var, w1, b1, w2, b2))
    z = h = s = None
    with full_precision(x):
        if learn:
            μ, var, M, *_ = statistics(x, group)
        σ = None if var is None else torch.sqrt(var + eps)
        a = slope(γ, σ, x)
        β = torch.zeros_like(a) if β is None else β
        if kind:
            z = passes.pooled(x, μ, a, β, activation) / N
            h, s = excite(z, Excitation(w1, b1, w2, b2, *kind))
        y = passes.activate(x, μ, a, β, s, activation)

    saved = x, γ, β, μ, σ, z, h, s, w1, w2
    if not learn or var is None:
        return y, None, None, saved, M
    return y, μ, unbiased(var, M), saved, M


class _Unit(torch.autograd.Function):
    """The formulas with their gradients."""

    @staticmethod
    def forward(ctx: Any, x, γ, β, μ, var, w1, b1, w2, b2, learn, eps, group, activation, kind):
        y, μ, var, saved, M = _forward(
            x, γ, β, μ, var, w1, b1, w2, b2, learn, eps, group, activation, kind
        )
        ctx.save_for_backward(*saved)
        ctx.options = M, learn, group, activation, kind
        if learn:
            ctx.mark_non_differentiable(μ, var)
        return y, μ, var

    @staticmethod
    def backward(ctx: Any, dy, *_):  # type: ignore[override]
        x, γ, β, μ, σ, z, h, s, w1, w2 = ctx.saved_tensors
        M, learn, group, activation, kind = ctx.options
        need_x, need_γ, need_β, *_ = ctx.needs_input_grad
        N, _ = sizes(x)
        dx = dγ = dβ = E = K = L = None
        excitation = [None, None, None, None]
        with torch.no_grad(), full_precision(x):
            a = slope(γ, σ, x)
            A = a.expand(x.shape[:2])
            if learn or kind or need_γ or need_β:
                S1, S2, *more = passes.grad_pooled(dy, x, μ, a, β, activation, bool(kind))
                if not kind:
                    T1, T2 = S1.sum(0), S2.sum(0)
                else:
                    ds, C1, C2 = more
                    se = Excitation(w1, None, w2, None, *kind)
                    dz, *excitation = excite_backward(ds, z, h, s, se)
                    e = dz / N
                    T1, T2 = (s * S1 + e * C1).sum(0), (s * S2 + e * C2).sum(0)
                    A, E = a * s, a * e
                if σ is not None:
                    dγ, dβ = T2 / σ, T1
                if learn:
                    assert σ is not None
                    if group is not None:
                        T1, T2 = synchronise.sums(T1, T2, group)
                    L, K = a * T1 / M, a * T2 / (σ * σ * M)
            if need_x:
                dx = passes.grad_activate(dy, x, μ, a, β, activation, A, E, K, L)
        grads = once.needed((dx, dγ, dβ, None, None, *excitation), ctx.needs_input_grad)
        return (*grads, None, None, None, None, None)
