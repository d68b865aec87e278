"""The pair of :mod:`senet.ops.tail` with an activation between norm and squeeze.

The unit of MobileNetV3, EfficientNet and RegNetY is: convolution output x → batch norm → activation
f → SE. The squeeze of f(u) does not follow from the sums of the statistics pass, so it takes one
more reading pass, and the forward has three.

Let b index images, c channels and n the N positions of the map, M = B·N, and let x̂ = x − μ. Only x,
y and their gradients are maps; all other arrays are ``[B, C]`` or ``[C]``.

Forward, with a = γ/σ. The activation is computed wherever it is needed, and never saved:

    u = a x̂ + β
    z = meanₙ f(u)         act_squeeze; then s = any function of z
    y = s f(u)             act_scale

Backward. The gradient of u is du = f'(u) (s dy + e), with e = dz/N, since f(u) reaches the loss
through the scale and, by its mean, through the gate. ``act_scale`` makes one reading pass,
which computes five sums over n, and sends dy itself, s, s S1, s S2, C1 and C2 to ``act_squeeze``:

    S1 = Σ dy f'(u)        C1 = Σ f'(u)
    S2 = Σ dy f'(u) x̂      C2 = Σ f'(u) x̂      ds = Σ dy f(u)

Autograd takes ds through the gate, to dz. With e

    T1 = Σ_b (s S1 + e C1) = dβ            which is the sum of du over the batch,
    T2 = Σ_b (s S2 + e C2) = σ dγ          and that of du x̂
    dx = a du − L − K x̂                    with L = a T1/M and K = a T2/(σ² M): the second pass

In evaluation μ and σ are constants, so L = K = 0. Without a gate s = 1 and e = 0, and only the
sums S1 and S2 remain; without batch norm a = 1, β = 0 and x̂ = x. Only x is saved for the backward,
where plain PyTorch saves x, u and f(u).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from senet.ops import backend, passes, synchronise
from senet.ops.norm import Affine, Norm, affine, sizes, track
from senet.ops.ownership import is_ours
from senet.ops.precision import full_precision, wide
from senet.ops.tail import (
    affine_of,
    again,
    bare,
    needs_gradient,
    own,
    plain_passes,
    require_gates,
    stand_in,
)


class Activated(NamedTuple):
    """The map f(norm(x)), squeezed but not written: the input of :func:`act_scale`.

    Attributes:
        z: meanₙ f(u), ``[B, C]``; ``None`` if it was not requested.
        x: the map.
        norm: its batch norm, or ``None``.
        of: the affine map of ``norm`` for x.
        activation: f, a name of :data:`~senet.ops.activation.ACTIVATIONS`.
        links: stand-ins without memory whose gradients :func:`act_scale` sends to
            :func:`act_squeeze`: dy like x; and s, s S1, s S2, C1, C2 as ``[5, B, C]``. Empty in
            inference.
    """

    z: Tensor | None
    x: Tensor
    norm: Norm | None
    of: Affine
    activation: str
    links: tuple[Tensor, ...] = ()


def act_squeeze(
    x: Tensor,
    norm: Norm | None,
    activation: str,
    squeeze: bool = True,
    spends: bool = False,
) -> Activated:
    """Compute the statistics of x and the squeeze of the activation of its batch norm.

    Args:
        x: map ``[B, C, *space]``, the output of a convolution.
        norm: its batch norm, or ``None``. Running statistics are updated as PyTorch updates them.
        activation: f, a name of :data:`~senet.ops.activation.ACTIVATIONS`.
        squeeze: whether to compute z, which takes a pass.
        spends: whether dx may overwrite dy, in training: nothing else can have kept dy.

    Raises:
        ValueError: if the statistics are those of the batch, and it has one value per channel.

    Example:
        >>> act_squeeze(torch.tensor([[[-1.0, 3.0]]]), None, "relu").z
        tensor([[1.5000]])
    """
    γ, β = (None, None) if norm is None else (norm.weight, norm.bias)
    if not needs_gradient(x, γ, β):
        z, of = _squeeze(x, norm, activation, squeeze)
        return Activated(z, x, norm, of, activation)
    z, of, *links = _ActSqueeze.apply(x, γ, β, norm, activation, squeeze, spends)  # type: ignore[misc]
    return Activated(z, x, norm, of, activation, tuple(links))


def act_scale(h: Activated, s: Tensor | None = None, inplace: bool = False) -> Tensor:
    """Return y = s f(u), of the type and layout of x.

    Args:
        h: the result of :func:`act_squeeze`; each serves one call of this function.
        s: gates ``[B, C]``; ``None`` is 1.
        inplace: whether y may overwrite x, in inference: nothing else reads x.

    Example:
        >>> h = act_squeeze(torch.tensor([[[-1.0, 3.0]]]), None, "relu")
        >>> act_scale(h, torch.tensor([[2.0]]))
        tensor([[[0., 6.]]])
    """
    require_gates(s, h.x)
    if not needs_gradient(s, *h.links):
        return _scale(h.x, h.of, s, h.activation, inplace)
    if s is None and h.z is not None:  # only the squeeze was used: its gradient needs C1 and C2
        s = torch.ones_like(h.z)
    γ, β = (None, None) if h.norm is None else (h.norm.weight, h.norm.bias)
    return _ActScale.apply(h.x, γ, β, s, h.norm, h.of, h.activation, *h.links)  # type: ignore[return-value]


def _squeeze(
    x: Tensor, norm: Norm | None, activation: str, squeeze: bool
) -> tuple[Tensor | None, Affine]:
    half = backend.halves(x, *(norm or ())[:4])
    with full_precision(x):
        if half and half.takes(norm):
            _, of = half.normalise(x, norm, False)
        else:
            of = affine(x, norm)
            track(norm, of)
        if not squeeze:
            return None, of
        return passes.pooled(x, of.μ, of.a, of.β, activation) / sizes(x)[0], of


def _scale(
    x: Tensor, of: Affine, s: Tensor | None, activation: str, inplace: bool = False
) -> Tensor:
    if half := backend.halves(x, s):
        return half.act_scale(x, of, s, activation, inplace)
    with full_precision(x):
        return passes.activate(x, of.μ, of.a, of.β, wide(s, x), activation)


def _grad_scale(
    dy: Tensor, x: Tensor, of: Affine, s: Any, activation: str
) -> tuple[Tensor | None, Tensor]:
    """Return ds; and s, s S1, s S2, C1, C2, ``[5, B, C]``, the last two unused without a gate."""
    if half := backend.halves(x, dy, s):
        return half.grad_act_scale(dy, x, of, s, activation)
    S1, S2, *more = passes.grad_pooled(dy, x, of.μ, of.a, of.β, activation, s is not None)
    if s is None:
        nothing = torch.zeros_like(S1)
        return None, torch.stack((torch.ones_like(S1), S1, S2, nothing, nothing))
    s, (ds, C1, C2) = wide(s, x), more
    return ds, torch.stack((s, s * S1, s * S2, C1, C2))


def _grad_squeeze(
    dy: Tensor,
    links: Tensor,
    dz: Tensor | None,
    x: Tensor,
    of: Any,
    norm: Norm | None,
    activation: str,
    need_x: bool,
    inplace: bool = False,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return dx, dγ and dβ. ``norm`` is that of :func:`bare`."""
    half = backend.halves(x, dy, links, dz)
    if half and half.takes(norm):
        return half.grad_act_squeeze(dy, links, dz, x, of, norm, activation, need_x, inplace)
    s, sS1, sS2, C1, C2 = links.unbind()
    E = K = L = dγ = dβ = None
    if dz is not None:
        e = dz / sizes(x)[0]
        sS1, sS2, E = sS1 + e * C1, sS2 + e * C2, of.a * e
    if norm is not None:
        T1, T2 = sS1.sum(0), sS2.sum(0)
        dγ, dβ = T2 / of.σ, T1
        if norm.training:
            if norm.group is not None:
                T1, T2 = synchronise.sums(T1, T2, norm.group)
            L, K = of.a * T1 / of.M, of.a * T2 / (of.σ * of.σ * of.M)
    if not need_x:
        return None, dγ, dβ
    dx = passes.grad_activate(dy, x, of.μ, of.a, of.β, activation, of.a * s, E, K, L)
    return dx, dγ, dβ


class _ActSqueeze(torch.autograd.Function):
    """The map x → z, and the links that carry dy, s, s S1, s S2, C1 and C2 back."""

    @staticmethod
    def forward(ctx: Any, x, γ, β, norm, activation, squeeze, spends):
        z, of = _squeeze(x, norm, activation, squeeze)
        of = own(of, norm)
        ctx.save_for_backward(x, γ, β, *of[:-1])
        ctx.norm, ctx.M, ctx.activation, ctx.spends = bare(norm), of.M, activation, spends
        ctx.set_materialize_grads(False)
        return z, of, stand_in(x, x.shape), stand_in(of.a, (5, *x.shape[:2]))

    @staticmethod
    def backward(ctx: Any, dz, _of, dy, links):  # type: ignore[override]
        if dy is None and dz is None:
            return (None,) * 7
        inplace = ctx.spends and dy is not None and is_ours(dy)
        x, γ, β, *constants = ctx.saved_tensors
        norm, f, need_x, need_γ, need_β = ctx.norm, ctx.activation, *ctx.needs_input_grad[:3]
        with plain_passes(dy, dz), full_precision(x):
            of = again(x, γ, β, norm, affine_of(constants, ctx.M), squeeze=False)
            if dy is None:  # only z was used
                dy = torch.zeros_like(x)
                _, links = _grad_scale(dy, x, of, torch.zeros_like(dz), f)
            dx, dγ, dβ = _grad_squeeze(dy, links, dz, x, of, norm, f, need_x, inplace)
        return dx, dγ if need_γ else None, dβ if need_β else None, *(None,) * 4


class _ActScale(torch.autograd.Function):
    """The map (s, links) → y. x, γ and β are inputs for the second derivative."""

    @staticmethod
    def forward(ctx: Any, x, γ, β, s, norm, of, activation, *links):
        ctx.save_for_backward(x, γ, β, s, *of[:-1])
        ctx.norm, ctx.M, ctx.activation = bare(norm), of.M, activation
        return _scale(x, of, s, activation)

    @staticmethod
    def backward(ctx: Any, dy):  # type: ignore[override]
        x, γ, β, s, *constants = ctx.saved_tensors
        need_s, need_links = ctx.needs_input_grad[3], ctx.needs_input_grad[7:]
        with plain_passes(dy), full_precision(x):
            of = again(x, γ, β, ctx.norm, affine_of(constants, ctx.M), squeeze=False)
            ds, links = _grad_scale(dy, x, of, s, ctx.activation)
        links = (dy, links) if any(need_links) else (None,) * len(need_links)
        return None, None, None, ds if need_s else None, None, None, None, *links
