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

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

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


class Excitation(NamedTuple):
    """The two layers of an SE block: s = gate(W2 relu(W1 z + b1) + b2).

    Attributes:
        w1: ``[R, C]``; b1: ``[R]`` or ``None``.
        w2: ``[C, R]``; b2: ``[C]`` or ``None``.
        gate: a name of :data:`GATES`.
    """

    w1: Tensor
    b1: Tensor | None
    w2: Tensor
    b2: Tensor | None
    gate: str = "sigmoid"


class Gate(NamedTuple):
    """A gate, and its derivative told from its output."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


GATES = {
    "sigmoid": Gate(torch.sigmoid, lambda s: s * (1 - s)),
    "tanh": Gate(torch.tanh, lambda s: 1 - s * s),
    "relu": Gate(torch.relu, lambda s: (s > 0).to(s.dtype)),
    "hardsigmoid": Gate(F.hardsigmoid, lambda s: ((s > 0) & (s < 1)).to(s.dtype) / 6),
    "scaled_sigmoid": Gate(lambda x: 2 * torch.sigmoid(x), lambda s: s * (1 - s / 2)),
}


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
    learn = bn is not None and bn.mean is None
    if learn and x.numel() <= x.shape[1]:
        raise ValueError(
            f"batch norm in training needs more than one value a channel, got {tuple(x.shape)}"
        )
    γ, β, μ, var, eps, group = bn or (None, None, None, None, 0.0, None)
    w1, b1, w2, b2, gate = se or (None, None, None, None, None)
    given = x, shortcut, γ, β, μ, var, w1, b1, w2, b2, learn, eps, group, gate, relu, mean
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
    N, _ = _sizes(h)
    with _full_precision(h):
        return F.linear(passes.moments(h, None)[0] / N, _wide(weight, h), _wide(bias, h))


def _forward(x, shortcut, γ, β, μ, var, w1, b1, w2, b2, learn, eps, group, gate, relu, mean):
    """The first half of the formulas at the head of this file, in their order.

    Returns y; the mean and the unbiased variance of the batch, or ``None``; what the backward
    needs; and M.
    """
    N, M = _sizes(x)
    γ, β, μ, var = (_wide(v, x) for v in (γ, β, μ, var))
    with _full_precision(x):
        m: Any = None
        if learn:
            pivot = _pivot(x)
            total, squares = passes.moments(x, pivot)
            shift = total.sum(0) / M
            var = (squares.sum(0) / M - shift * shift).clamp_(min=0)
            μ = pivot + shift
            if group is not None:
                μ, var, M = synchronise.statistics(μ, var, M, group)
            if gate is not None:
                m = total / N - (μ - pivot)
        elif gate is not None and mean is not None:
            m = mean if μ is None else mean - μ
        elif gate is not None:
            m = passes.moments(x, μ)[0] / N

        σ = None if var is None else torch.sqrt(var + eps)
        a = _slope(γ, σ, x)
        β = torch.zeros_like(a) if β is None else β
        if gate is None:
            z = h = s = None
            A, D = a.expand(x.shape[:2]), β.expand(x.shape[:2])
        else:
            w1, b1, w2, b2 = (_wide(v, x) for v in (w1, b1, w2, b2))
            z = a * m + β
            h, s = _excite(z, w1, b1, w2, b2, gate)
            A, D = s * a, s * β
        y = passes.affine(x, μ, A, D, shortcut, relu)

    saved = x, y if relu else None, γ, β, μ, σ, m, z, h, s, w1, w2
    if not learn or var is None:
        return y, None, None, saved, M
    return y, μ, var * (M / (M - 1)), saved, M


class _Tail(torch.autograd.Function):
    """The formulas with their gradients."""

    @staticmethod
    def forward(
        ctx: Any, x, shortcut, γ, β, μ, var, w1, b1, w2, b2, learn, eps, group, gate, relu, mean
    ):
        y, μ, unbiased, saved, M = _forward(
            x, shortcut, γ, β, μ, var, w1, b1, w2, b2, learn, eps, group, gate, relu, mean
        )
        ctx.save_for_backward(*saved)
        ctx.options = M, learn, group, gate
        if unbiased is not None:
            ctx.mark_non_differentiable(μ, unbiased)
        return y, μ, unbiased

    @staticmethod
    def backward(ctx: Any, dy, *_):  # type: ignore[override]
        x, y, γ, β, μ, σ, m, z, h, s, w1, w2 = ctx.saved_tensors
        M, learn, group, gate = ctx.options
        _, need_shortcut, need_γ, need_β, *_ = ctx.needs_input_grad
        N, _ = _sizes(x)
        dγ = dβ = E = K = None
        excitation = [None, None, None, None]
        with torch.no_grad(), _full_precision(x):
            a = _slope(γ, σ, x)
            A = a.expand(x.shape[:2])
            if learn or gate is not None or need_γ or need_β:
                S1, S2 = passes.grad_moments(dy, y, x, μ)
                if gate is None:
                    T1, T2 = S1.sum(0), S2.sum(0)
                else:
                    ds = a * S2 + β * S1
                    dz, *excitation = _excite_backward(ds, z, h, s, w1, w2, gate)
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
        grads = (dx, dshortcut, dγ, dβ, None, None, *excitation)
        grads = tuple(
            g if need else None for g, need in zip(grads, ctx.needs_input_grad, strict=False)
        )
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            grads = _Once.apply(torch.empty(0, requires_grad=True), *grads)
        return (*grads, None, None, None, None, None, None)


class _Once(torch.autograd.Function):
    """Gradients that have none of their own: says so when they are asked for."""

    @staticmethod
    def forward(ctx: Any, _, *grads):
        return grads

    @staticmethod
    def backward(ctx: Any, *_):
        raise RuntimeError(
            "the fused passes have no second derivative; take gradients of gradients inside "
            '`with senet.ops.backend.use("eager"):`, where plain PyTorch computes the network'
        )


def _excite(z: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None, gate: str):
    """The hidden layer h and the gates s."""
    h = torch.relu(F.linear(z, w1, b1))
    return h, GATES[gate].function(F.linear(h, w2, b2))


def _excite_backward(
    ds: Tensor, z: Tensor, h: Tensor, s: Tensor, w1: Tensor, w2: Tensor, gate: str
):
    """Gradients of z, W1, b1, W2, b2 from the gradient of the gates."""
    d2 = ds * GATES[gate].slope(s)
    d1 = (d2 @ w2) * (h > 0)
    return d1 @ w1, d1.T @ z, d1.sum(0), d2.T @ h, d2.sum(0)


def _slope(γ: Tensor | None, σ: Tensor | None, x: Tensor) -> Tensor:
    """a = γ/σ, where a missing γ or σ is 1."""
    if σ is None:
        return torch.ones(x.shape[1], dtype=passes.accumulator(x.dtype), device=x.device)
    return 1 / σ if γ is None else γ / σ


def _pivot(x: Tensor) -> Tensor:
    """A number near the mean of each channel: the mean of some positions of a few images.

    About it the sum of squares does not cancel, however large the mean is. The positions are spread
    over the image, since at its border the padding of a convolution makes values unlike the others.
    """
    positions = x[:4].flatten(2).movedim(1, -1)
    step = max(positions.shape[1] // 8, 1)
    few = positions[:, step // 2 :: step].reshape(-1, x.shape[1])
    return few.mean(0, dtype=passes.accumulator(x.dtype))


def _sizes(x: Tensor) -> tuple[int, Any]:
    """N and M = B·N."""
    N = math.prod(x.shape[2:])
    return N, x.shape[0] * N


def _wide(v: Any, x: Tensor) -> Any:
    """``v`` in the type in which maps like ``x`` are summed; ``None`` stays ``None``."""
    type_ = passes.accumulator(x.dtype)
    return v if v is None or v.dtype == type_ else v.to(type_)


def _full_precision(x: Tensor) -> AbstractContextManager[object]:
    """The small algebra is never autocast: it is what keeps a half-precision network exact."""
    device = x.device.type
    on = torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()
