"""Squeeze-and-excitation on the passes that batch norm makes anyway.

The tail of a residual branch is: convolution output x → batch norm → SE → + shortcut → ReLU → y.
Let b index images, c channels and n the N positions of the map, M = B·N, and let
x̂ = x − μ. Only x̂, y, g and their gradients are maps; all other arrays are ``[B, C]`` or ``[C]``.

Batch norm is an affine map per channel, u = a x̂ + β with a = γ/σ. Hence

    z = a m + β            the squeeze of u, where the statistics pass computes m = meanₙ x̂
    A = s a,  D = s β      scaling u by s is folding s into the affine map
    y = relu(A x̂ + D + shortcut)

The gate s = f(z) between the two is arithmetic on ``[B, C]`` arrays and may be anything. So there
is a pair of operations, and f is ordinary PyTorch with its own autograd:

    h = norm_squeeze(x, norm)              one reading pass; h.z is z
    s = f(h.z)                             as the network defines it
    y = norm_scale(h, s, shortcut, relu)   one reading and writing pass

Backward, with g = dy where the ReLU passed, else 0. ``norm_scale`` makes one pass, which writes g,
also the shortcut's gradient, and sums S1 = Σₙ g and S2 = Σₙ g x̂. It returns

    ds = a S2 + β S1       which autograd takes through f, to dz and to all parameters of f

and sends g, A, s S1 and s S2 to ``norm_squeeze``, as the "gradients" of the links of h:

    T1 = Σ_b (s S1 + dz)   = dβ
    T2 = Σ_b (s S2 + dz m) = σ dγ
    dx = A g + E − K x̂     with E = a (dz/N − T1/M) and K = a T2 / (σ² M): the second pass

In evaluation μ and σ are constants, so K = 0 and E = a dz/N. Without a gate s = 1 and dz = 0;
without a norm a = 1, β = 0 and x̂ = x. If the backward is itself differentiated, the same lines
run in plain PyTorch, on statistics that are computed from x again (:func:`again`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor  # type: ignore[attr-defined]
from torch.nn import functional as F

from senet.ops import backend, passes, synchronise
from senet.ops.norm import Affine, Norm, affine, sizes, track
from senet.ops.ownership import is_last_read, is_ours, saves_as_is
from senet.ops.precision import full_precision, wide


class Squeezed(NamedTuple):
    """The map u = norm(x), squeezed but not written: the input of :func:`norm_scale`.

    Attributes:
        z: meanₙ u, ``[B, C]``; ``None`` if it was not requested.
        x: the map.
        norm: its batch norm, or ``None``.
        of: the affine map of ``norm`` for x.
        links: stand-ins without memory whose gradients :func:`norm_scale` sends to
            :func:`norm_squeeze`: g like x, and A, s S1, s S2 as ``[3, B, C]``. Empty in inference.
    """

    z: Tensor | None
    x: Tensor
    norm: Norm | None
    of: Affine
    links: tuple[Tensor, ...] = ()


def norm_squeeze(
    x: Tensor,
    norm: Norm | None,
    squeeze: bool = True,
    mean: Tensor | None = None,
    spends: bool = False,
) -> Squeezed:
    """Compute the statistics of x and the squeeze of its batch norm, in one reading pass.

    Args:
        x: map ``[B, C, *space]``, the output of a convolution.
        norm: its batch norm, or ``None`` to squeeze x itself. Running statistics are updated as
            PyTorch updates them.
        squeeze: whether to compute z.
        mean: meanₙ x, ``[B, C]``, if it is already known (:func:`mean_after`); for inference: no
            gradient flows through it.
        spends: whether dx may overwrite x, in training: nothing else reads x.

    Raises:
        ValueError: if the statistics are those of the batch, and it has one value per channel.

    Example:
        >>> h = norm_squeeze(torch.tensor([[[1.0, 3.0]]]), None)
        >>> h.z
        tensor([[2.]])
        >>> norm_scale(h, torch.tensor([[0.5]]))
        tensor([[[0.5000, 1.5000]]])
    """
    γ, β = (None, None) if norm is None else (norm.weight, norm.bias)
    if not needs_gradient(x, γ, β):
        z, of = _squeeze(x, norm, squeeze, mean)
        return Squeezed(z, x, norm, of)
    z, of, *links = _NormSqueeze.apply(x, γ, β, norm, squeeze, spends)  # type: ignore[misc]
    return Squeezed(z, x, norm, of, tuple(links))


def norm_scale(
    h: Squeezed,
    s: Tensor | None = None,
    shortcut: Tensor | None = None,
    relu: bool = False,
    inplace: bool = False,
    spends: bool = False,
) -> Tensor:
    """Return y = relu(s u + shortcut), without the parts that are not given.

    Args:
        h: the result of :func:`norm_squeeze`; each serves one call of this function.
        s: gates ``[B, C]``.
        shortcut: of the shape of x.
        relu: whether a ReLU ends the tail.
        inplace: whether y may overwrite x, in inference: nothing else reads x.
        spends: whether g may overwrite dy, in training: nothing else can have kept dy.

    Returns:
        y, of the type and layout of x.

    Example:
        >>> x = torch.tensor([[[1.0, 3.0]]])
        >>> norm_scale(norm_squeeze(x, Norm(training=True, eps=0.0)), shortcut=x, relu=True)
        tensor([[[0., 4.]]])
    """
    require_gates(s, h.x)
    if not needs_gradient(s, shortcut, *h.links):
        return _scale(h.x, h.of, s, shortcut, relu, keep=False, inplace=inplace)[0]
    γ, β = (None, None) if h.norm is None else (h.norm.weight, h.norm.bias)
    return _NormScale.apply(h.x, γ, β, s, shortcut, h.norm, h.of, relu, spends, *h.links)  # type: ignore[return-value]


def mean_after(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return meanₙ (W h + b) = W meanₙ h + b, the mean after a 1×1 convolution, before it runs.

    Args:
        h: the input of the convolution, ``[B, C', *space]``.
        weight: ``[C, C']``; bias: ``[C]`` or ``None``.

    Returns:
        ``[B, C]``, float32 for maps of a narrower type.

    Example:
        >>> mean_after(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[10.0]]), None)
        tensor([[20.]])
    """
    if half := backend.halves(h, weight, bias):
        return half.mean_after(h, weight, bias)
    N, _ = sizes(h)
    with full_precision(h):
        return F.linear(passes.moments(h, None)[0] / N, wide(weight, h), wide(bias, h))


def _squeeze(
    x: Tensor, norm: Norm | None, squeeze: bool, mean: Tensor | None = None
) -> tuple[Tensor | None, Affine]:
    """Return z and the affine map of ``norm``."""
    half = backend.halves(x, *(norm or ())[:4])
    if half and mean is None and half.takes(norm):
        return half.normalise(x, norm, squeeze)
    with full_precision(x):
        of = affine(x, norm)
        track(norm, of)
        if not squeeze:
            return None, of
        m: Any = of.m
        if m is None and mean is not None:
            m = mean if of.μ is None else mean - of.μ
        elif m is None:
            m = passes.moments(x, of.μ)[0] / sizes(x)[0]
        assert m is not None
        return of.a * m + of.β, of._replace(m=m)


def _scale(
    x: Tensor,
    of: Affine,
    s: Tensor | None,
    shortcut: Tensor | None,
    relu: bool,
    keep: bool,
    inplace: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return y, and the mask of the ReLU for the backward."""
    if half := backend.halves(x, s, shortcut):
        return half.scale(x, of, s, shortcut, relu, keep, inplace)
    with full_precision(x):
        s = wide(s, x)
        if s is None:
            A, D = of.a.expand(x.shape[:2]), of.β.expand(x.shape[:2])
        else:
            A, D = s * of.a, s * of.β
        made: Any = passes.affine(x, of.μ, A, D, shortcut, relu, keep)
    return made if keep else (made, None)


def _grad_scale(
    dy: Tensor, mask: Tensor | None, x: Tensor, of: Affine, s: Any, inplace: bool = False
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return g; ds; and A, s S1 and s S2, ``[3, B, C]``."""
    if half := backend.halves(x, dy, s):
        return half.grad_scale(dy, mask, x, of, s, inplace)
    g, S1, S2 = passes.grad_scale(dy, mask, x, of.μ)
    if s is None:
        return g, None, torch.stack((of.a.expand(x.shape[:2]), S1, S2))
    s = wide(s, x)
    return g, of.a * S2 + of.β * S1, torch.stack((s * of.a, s * S1, s * S2))


def _grad_squeeze(
    g: Tensor,
    links: Tensor,
    dz: Tensor | None,
    x: Tensor,
    of: Any,
    norm: Norm | None,
    need_x: bool,
    inplace: bool = False,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return dx, dγ and dβ. ``norm`` is that of :func:`bare`."""
    half = backend.halves(x, g, links, dz)
    if half and half.takes(norm):
        return half.grad_squeeze(g, links, dz, x, of, norm, need_x, inplace)
    N, _ = sizes(x)
    A, sS1, sS2 = links.unbind()
    E: Any = None
    K = dγ = dβ = None
    if dz is not None:
        sS1, sS2, E = sS1 + dz, sS2 + dz * of.m, of.a * dz / N
    if norm is not None:
        T1, T2 = sS1.sum(0), sS2.sum(0)
        dγ, dβ = T2 / of.σ, T1
        if norm.training:
            if norm.group is not None:
                T1, T2 = synchronise.sums(T1, T2, norm.group)
            E = (0 if E is None else E) - of.a * T1 / of.M
            E, K = E.expand(x.shape[:2]), of.a * T2 / (of.σ * of.σ * of.M)
    return passes.grad_affine(g, x, of.μ, A, E, K) if need_x else None, dγ, dβ


class _NormSqueeze(torch.autograd.Function):
    """The map x → z, and the links that carry g, A, s S1 and s S2 back."""

    @staticmethod
    def forward(ctx: Any, x, γ, β, norm, squeeze, spends):
        z, of = _squeeze(x, norm, squeeze)
        of = own(of, norm)
        ctx.save_for_backward(x, γ, β, *of[:-1])
        ctx.norm, ctx.M, ctx.spends = bare(norm), of.M, spends and saves_as_is()
        ctx.set_materialize_grads(False)
        return z, of, stand_in(x, x.shape), stand_in(of.a, (3, *x.shape[:2]))

    @staticmethod
    def backward(ctx: Any, dz, _of, g, links):  # type: ignore[override]
        if g is None and dz is None:
            return (None,) * 6
        x, γ, β, *constants = ctx.saved_tensors
        need_x, need_γ, need_β, *_ = ctx.needs_input_grad
        inplace = ctx.spends and is_last_read(x)
        with plain_passes(g, dz), full_precision(x):
            of = again(x, γ, β, ctx.norm, affine_of(constants, ctx.M), squeeze=dz is not None)
            if g is None:  # only z was used
                g, links = torch.zeros_like(x), dz.new_zeros((3, *x.shape[:2]))
            dx, dγ, dβ = _grad_squeeze(g, links, dz, x, of, ctx.norm, need_x, inplace)
        return dx, dγ if need_γ else None, dβ if need_β else None, None, None, None


class _NormScale(torch.autograd.Function):
    """The map (s, shortcut, links) → y. x, γ and β are inputs for the second derivative."""

    @staticmethod
    def forward(ctx: Any, x, γ, β, s, shortcut, norm, of, relu, spends, *links):
        y, mask = _scale(x, of, s, shortcut, relu, keep=True)
        ctx.save_for_backward(x, γ, β, s, mask, *of[:-1])
        ctx.norm, ctx.M, ctx.spends = bare(norm), of.M, spends
        return y

    @staticmethod
    def backward(ctx: Any, dy):  # type: ignore[override]
        x, γ, β, s, mask, *constants = ctx.saved_tensors
        _, _, _, need_s, need_shortcut, _, _, _, _, *need_links = ctx.needs_input_grad
        inplace = ctx.spends and is_ours(dy)
        with plain_passes(dy), full_precision(x):
            of = again(x, γ, β, ctx.norm, affine_of(constants, ctx.M), squeeze=False)
            g, ds, links = _grad_scale(dy, mask, x, of, s, inplace)
        return (
            *(None, None, None),
            ds if need_s else None,
            g if need_shortcut else None,
            *(None, None, None, None),
            *((g, links) if any(need_links) else (None,) * len(need_links)),
        )


def require_gates(s: Tensor | None, x: Tensor) -> None:
    """Check that ``s`` has one gate for each image and channel of the map ``x``.

    Raises:
        ValueError: if it does not.
    """
    if s is not None and s.shape != x.shape[:2]:
        raise ValueError(
            f"s: expected {list(x.shape[:2])}, one gate for each image and channel of a map "
            f"{list(x.shape)}, got {list(s.shape)}"
        )


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Whether autograd has to record an operation on ``tensors``."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def stand_in(model: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a tensor of this shape, with the type of ``model``, that takes no memory."""
    return model.new_empty(()).expand(shape)


def own(of: Affine, norm: Norm | None) -> Affine:
    """Return ``of`` with copies of running statistics, which a later batch would change."""
    if norm is None or of.μ is not norm.running_mean:
        return of
    assert of.μ is not None
    assert of.var is not None
    return of._replace(μ=of.μ.clone(), var=of.var.clone())


def bare(norm: Norm | None) -> Norm | None:
    """Return the settings of ``norm``, without its tensors."""
    return None if norm is None else Norm(training=norm.learns, eps=norm.eps, group=norm.group)


def affine_of(saved: Sequence[Any], M: Any) -> Affine:
    """Return the affine map whose tensors were saved for the backward."""
    μ, var, σ, a, β, m = saved
    return Affine(μ, var, σ, a, β, m, M)


def plain_passes(*gradients: Tensor | None) -> AbstractContextManager[object]:
    """Use plain PyTorch if a backward is itself differentiated, or has a batch of gradients.

    Kernels cannot read the tensors of such a batch (``is_grads_batched``).
    """
    batched = not torch.compiler.is_compiling() and any(
        g is not None and is_legacy_batchedtensor(g) for g in gradients
    )
    return backend.use("eager") if batched or torch.is_grad_enabled() else nullcontext()


def again(
    x: Tensor, γ: Tensor | None, β: Tensor | None, norm: Norm | None, of: Affine, squeeze: bool
) -> Affine:
    """Return ``of``, or if a backward is itself differentiated, the same as a function of x."""
    if not torch.is_grad_enabled() or norm is None:
        return of
    if norm.group is not None:
        raise RuntimeError(
            "batch statistics over several processes have no second derivative: take it in one "
            "process, or with the norms in evaluation"
        )
    norm = norm._replace(weight=γ, bias=β)
    if not norm.training:
        norm = norm._replace(running_mean=of.μ, running_var=of.var)
    of = affine(x, norm)
    if squeeze and of.m is None:
        of = of._replace(m=passes.moments(x, of.μ)[0] / sizes(x)[0])
    return of
