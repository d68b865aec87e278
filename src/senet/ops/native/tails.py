"""The halves of a tail on the CPU, each one call into C: ``tails.c``.

Each function computes what the function of the same name in :mod:`senet.ops.tail` or
:mod:`senet.ops.activated` does in plain PyTorch, and is tested against it. They bypass PyTorch's
dispatcher, so they get only plain tensors, and are not called while a mode or compiler observes
the calls (:func:`senet.ops.backend.halves`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from senet.ops import mask as masks
from senet.ops import native, passes
from senet.ops.gate import Gate
from senet.ops.native import (
    ACTIVATIONS,
    GATES,
    bits_of,
    call,
    of_channels,
    of_images,
    of_shape,
)
from senet.ops.norm import Affine, Norm, require_several, sizes
from senet.ops.precision import wide

_c = native.library.load()


def takes(norm: Norm | None) -> bool:
    """Whether a tail with ``norm`` can run here: in one process, on float32 statistics."""
    return (
        norm is not None
        and norm.group is None
        and all(
            v is None or (v.dtype == torch.float32 and v.is_contiguous())
            for v in (norm.running_mean, norm.running_var)
        )
    )


def normalise(x: Tensor, norm: Norm, squeeze: bool) -> tuple[Tensor | None, Affine]:
    """Return z if requested, and the affine map of ``norm`` for ``x``, in new tensors.

    Updates the running statistics in training.
    """
    if norm.learns:
        require_several(x)
    x = passes.dense(x, "x")
    γ, β, mean, var = _vectors(x, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    rows = _room(5, x.shape[1])
    m = _room(*x.shape[:2]) if norm.learns or squeeze else None
    z = _room(*x.shape[:2]) if squeeze else None
    call(_c.senet_norm, (x,), x, γ, β, mean, var, norm.momentum, norm.eps, norm.learns, rows, m, z)
    μ, var, σ, a, β = rows.unbind()
    return z, Affine(μ, var, σ, a, β, m, sizes(x)[1])


def scale(
    x: Tensor,
    of: Affine,
    s: Tensor | None,
    shortcut: Tensor | None,
    relu: bool,
    keep: bool,
    inplace: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return y = relu(s u + shortcut), and with ``keep`` the mask of the ReLU."""
    x = passes.dense(x, "x")
    shortcut = passes.like(shortcut, x, "shortcut")
    μ, a, β, s = *_vectors(x, of.μ, of.a, of.β), of_images(wide(s, x), x)
    y = x if inplace else torch.empty_like(x)
    bits = bits_of(x) if keep and relu and native.keeps_bits(x) else None
    call(_c.senet_norm_scale, (x, shortcut), x, μ, a, β, s, shortcut, relu, y, bits)
    return y, (y if bits is None else bits) if keep and relu else None


def grad_scale(
    dy: Tensor, mask: Tensor | None, x: Tensor, of: Affine, s: Tensor | None, inplace: bool = False
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return g; ds; and A, s S1 and s S2, ``[3, B, C]``."""
    x = passes.dense(x, "x")
    dy = passes.like(dy, x, "dy")
    y = bits = None
    if mask is not None and masks.in_bits(mask):
        if not native.has_words(x):
            mask = masks.as_map(mask, x)
        else:
            native.check_bits(mask, x)
            bits = mask
    if bits is None:
        y = mask = passes.like(mask, x, "mask")
    μ, a, β, s = *_vectors(x, of.μ, of.a, of.β), of_images(wide(s, x), x)
    g = None if mask is None else dy if inplace else torch.empty_like(x)
    links = _room(3, *x.shape[:2])
    ds = None if s is None else _room(*x.shape[:2])
    call(_c.senet_grad_norm_scale, (x, dy, y), dy, y, bits, x, μ, a, β, s, g, ds, links)
    return dy if g is None else g, ds, links


def grad_squeeze(
    g: Tensor,
    links: Tensor,
    dz: Tensor | None,
    x: Tensor,
    of: Affine,
    norm: Norm,
    need_x: bool,
    inplace: bool = False,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Return dx, dγ and dβ."""
    x = passes.dense(x, "x")
    g = passes.like(g, x, "g")
    μ, σ, a = _vectors(x, of.μ, of.σ, of.a)
    m, dz = of_images(of.m, x), of_images(dz, x)
    links = _rows(links, 3, x)
    dx = None if not need_x else x if inplace else torch.empty_like(x)
    dγ, dβ = _room(x.shape[1]), _room(x.shape[1])
    call(_c.senet_grad_norm_squeeze, (x, g), g, x, μ, σ, a, m, links, dz, norm.training, dx, dγ, dβ)
    return dx, dγ, dβ


def act_scale(
    x: Tensor, of: Affine, s: Tensor | None, activation: str, inplace: bool = False
) -> Tensor:
    """Return y = s f(u)."""
    x = passes.dense(x, "x")
    μ, a, β, s = *_vectors(x, of.μ, of.a, of.β), of_images(wide(s, x), x)
    y = x if inplace else torch.empty_like(x)
    call(_c.senet_activate, (x,), x, μ, a, β, s, ACTIVATIONS[activation], y)
    return y


def grad_act_scale(
    dy: Tensor, x: Tensor, of: Affine, s: Tensor | None, activation: str
) -> tuple[Tensor | None, Tensor]:
    """Return ds; and s, s S1, s S2, C1 and C2, ``[5, B, C]``."""
    x = passes.dense(x, "x")
    dy = passes.like(dy, x, "dy")
    μ, a, β, s = *_vectors(x, of.μ, of.a, of.β), of_images(wide(s, x), x)
    links = _room(5, *x.shape[:2])
    if s is None:
        links[3:] = 0
    ds = None if s is None else _room(*x.shape[:2])
    call(_c.senet_grad_act_scale, (x, dy), dy, x, μ, a, β, s, ACTIVATIONS[activation], ds, links)
    return ds, links


def grad_act_squeeze(
    dy: Tensor,
    links: Tensor,
    dz: Tensor | None,
    x: Tensor,
    of: Affine,
    norm: Norm,
    activation: str,
    need_x: bool,
    inplace: bool = False,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Return dx, dγ and dβ."""
    x = passes.dense(x, "x")
    dy = passes.like(dy, x, "dy")
    μ, σ, a, β = _vectors(x, of.μ, of.σ, of.a, of.β)
    dz, links = of_images(dz, x), _rows(links, 5, x)
    dx = None if not need_x else dy if inplace else torch.empty_like(x)
    dγ, dβ = _room(x.shape[1]), _room(x.shape[1])
    arrays, f = (dy, x, μ, σ, a, β, links, dz), ACTIVATIONS[activation]
    call(_c.senet_grad_act_squeeze, (x, dy), *arrays, f, norm.training, dx, dγ, dβ)
    return dx, dγ, dβ


def gated_tail(
    x: Tensor,
    norm: Norm | None,
    activation: str | None,
    gate: Gate,
    shortcut: Tensor | None,
    relu: bool,
    mean: Tensor | None,
    inplace: bool,
) -> Tensor:
    """Return the output of a whole tail in inference."""
    x = passes.dense(x, "x")
    shortcut = passes.like(shortcut, x, "shortcut")
    μ, var, γ, β = _vectors(x, *(norm or Norm())[:4])
    y = x if inplace else torch.empty_like(x)
    inner = -1 if activation is None else ACTIVATIONS[activation]
    arrays = x, of_images(mean, x), μ, var, γ, β, (norm or Norm()).eps, inner
    layers = _layers(gate, x.shape[1], x.shape[1])
    call(_c.senet_gated_tail, (x, shortcut), *arrays, *layers, shortcut, relu, y)
    return y


def mean_after(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return W meanₙ h + b, float32."""
    h = passes.dense(h, "h")
    C, inputs = weight.shape
    layer = _weights(weight, C, inputs), _weights(bias, C), C
    out = _room(len(h), C)
    call(_c.senet_mean_after, (h,), h, *layer, out)
    return out


def excite(z: Tensor, gate: Gate) -> Tensor:
    """Return the gates that the layers compute from the squeeze ``z``, float32."""
    z = of_images(z, z)
    outputs = len(gate.second)
    s = _room(len(z), outputs)
    call(_c.senet_excite, (z,), z, *_layers(gate, z.shape[1], outputs), outputs, s)
    return s


def rescale(u: Tensor, s: Tensor, shortcut: Tensor | None, relu: bool, inplace: bool) -> Tensor:
    """Return y = relu(s u + shortcut)."""
    u = passes.dense(u, "u")
    shortcut = passes.like(shortcut, u, "shortcut")
    y = u if inplace else torch.empty_like(u)
    call(_c.senet_affine, (u, shortcut), u, None, of_images(s, u), None, shortcut, relu, y, None)
    return y


def _layers(gate: Gate, inputs: int, outputs: int) -> tuple[Any, ...]:
    """Return the layers of a gate as C reads them."""
    R = inputs if gate.first is None else len(gate.first)
    return (
        _weights(gate.first, R, inputs),
        _weights(gate.first_bias, R),
        _weights(gate.second, outputs, R),
        _weights(gate.second_bias, outputs),
        *(R, ACTIVATIONS[gate.activation], GATES[gate.function]),
    )


def _weights(v: Tensor | None, *shape: int) -> Any:
    """Return weights of a layer as C reads them."""
    if v is None or (v.shape == shape and v.dtype == torch.float32 and v.is_contiguous()):
        return v
    v = v.detach().float()
    return of_shape(v.flatten(1) if v.dim() > 2 else v, torch.Size(shape))


def _room(*shape: int) -> Tensor:
    """Return an array for numbers that C writes, one per image and channel or per channel."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def _vectors(x: Tensor, *vectors: Tensor | None) -> list[Any]:
    """Return ``[C]`` arrays as C reads them."""
    return [of_channels(wide(v, x), x) for v in vectors]


def _rows(links: Tensor, number: int, x: Tensor) -> Tensor:
    """Return the links as C reads them."""
    return of_shape(links, torch.Size((number, *x.shape[:2])))
