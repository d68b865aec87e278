"""The streaming passes: the only loops over feature maps in this project.

``x`` is a feature map ``[B, C, *space]`` with ``N`` positions; ``pivot``, ``[C]``, is a number p
per channel that is subtracted from ``x`` (``None`` is zero). Subtracting a number near the mean
keeps sums of squares, and gradients of the variance, exact if the mean is much larger than the
standard deviation. All other arrays are ``[B, C]``, or ``[C]`` where stated, in float32 (float64
for a float64 map) whatever the type of the map: :func:`~senet.ops.precision.accumulator`.

===============  =============================================================================
``moments``      Σₙ (x − p) and Σₙ (x − p)²
``affine``       y = A (x − p) + D + shortcut, or relu of that, and its mask
``grad_scale``   g = dy where the mask passes it, else 0; S1 = Σₙ g and S2 = Σₙ g (x − p)
``grad_affine``  dx = A g + E − K (x − p)
===============  =============================================================================

These four suffice if SE follows batch norm: ``grad_scale`` computes the gradient of s and, after
autograd has taken that through the gate, ``grad_affine`` computes that of x. Four more passes serve
an activation f between the two, with u = a (x − p) + b for ``a`` and ``b`` of ``[C]``. f is a name
of :data:`senet.ops.activation.ACTIVATIONS`:

=================  =====================================================================
``pooled``         Σₙ f(u)
``activate``       y = S f(u)
``grad_pooled``    S1 = Σₙ g and S2 = Σₙ g (x − p), with g = dy f'(u); and for SE
                   Σₙ dy f(u), C1 = Σₙ f'(u) and C2 = Σₙ f'(u) (x − p)
``grad_activate``  dx = f'(u) (A dy + E) − L − K (x − p)
=================  =====================================================================

Where an activation is flat, the gradient is 0 even if dy is infinite or NaN: backends select, and
never multiply by a slope of 0.

A backend is a module with these functions. This file ensures what they may rely on (one dense
layout for all maps of a call, contiguous or channels-last; all other arrays of the right shape,
type and device, else ValueError) and dispatches the call to the backend that
:mod:`senet.ops.backend` chose; :mod:`senet.ops.eager` defines in plain PyTorch what each returns.
``allow_in_graph``: TorchDynamo must not trace the functions, since it does not know the memory
layout of a gradient; AOTAutograd does, and traces them like any other function.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, overload

import torch
from torch import Tensor

from senet.ops import backend
from senet.ops import mask as masks
from senet.ops.activation import ACTIVATIONS
from senet.ops.precision import accumulator


@torch.compiler.allow_in_graph
def moments(x: Tensor, pivot: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return Σₙ (x − p) and Σₙ (x − p)², each ``[B, C]``. Reads ``x`` once."""
    x = dense(x, "x")
    _check(x, {"pivot": pivot})
    return backend.of(x).moments(x, pivot)


@overload
def affine(
    x: Tensor,
    pivot: Tensor | None,
    A: Tensor,
    D: Tensor,
    shortcut: Tensor | None = None,
    relu: bool = False,
    keep: Literal[False] = False,
) -> Tensor: ...
@overload
def affine(
    x: Tensor,
    pivot: Tensor | None,
    A: Tensor,
    D: Tensor,
    shortcut: Tensor | None,
    relu: bool,
    keep: Literal[True],
) -> tuple[Tensor, Tensor | None]: ...
@torch.compiler.allow_in_graph
def affine(
    x: Tensor,
    pivot: Tensor | None,
    A: Tensor,
    D: Tensor,
    shortcut: Tensor | None = None,
    relu: bool = False,
    keep: bool = False,
) -> Tensor | tuple[Tensor, Tensor | None]:
    """Return y = A (x − p) + D + shortcut, or its ReLU. Reads ``x`` and ``shortcut``, writes ``y``.

    ``A`` and ``D`` are ``[B, C]``; ``y`` has the type and the layout of ``x``. With ``keep`` also
    returns the :mod:`~senet.ops.mask` of the ReLU for :func:`grad_scale`, in the form that makes
    forward and backward together the fastest; ``None`` without a ReLU.
    """
    x = dense(x, "x")
    _check(x, {"pivot": pivot}, {"A": A, "D": D})
    return backend.of(x).affine(x, pivot, A, D, like(shortcut, x, "shortcut"), relu, keep)


@torch.compiler.allow_in_graph
def grad_scale(
    dy: Tensor, mask: Tensor | None, x: Tensor, pivot: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return g = dy where the mask passes it, else 0; S1 = Σₙ g and S2 = Σₙ g (x − p), ``[B, C]``.

    Reads ``dy``, ``mask`` and ``x`` once, writes ``g``, which is like ``x``. ``mask`` is that of
    the ReLU of :func:`affine` (:mod:`senet.ops.mask`; its output is one), or ``None`` without a
    ReLU: then g *is* ``dy``, and no map is written.
    """
    x = dense(x, "x")
    _check(x, {"pivot": pivot})
    if mask is None or not masks.in_bits(mask):
        mask = like(mask, x, "mask")
    elif mask.shape != (masks.length(x),) or mask.device != x.device or not mask.is_contiguous():
        wanted = f"uint8 [{masks.length(x)}] on {x.device}, one bit for each number of a map"
        raise ValueError(f"mask: expected {wanted} {list(x.shape)}, got {_described(mask)}")
    return backend.of(x).grad_scale(like(dy, x, "dy"), mask, x, pivot)


@torch.compiler.allow_in_graph
def grad_affine(
    g: Tensor,
    x: Tensor,
    pivot: Tensor | None,
    A: Tensor,
    E: Tensor | None,
    K: Tensor | None,
) -> Tensor:
    """Return dx = A g + E − K (x − p), like ``x``. Reads ``g`` and ``x``, writes ``dx``.

    ``A`` and ``E`` are ``[B, C]``, ``K`` is ``[C]``; ``None`` is zero. Without ``K`` (the
    statistics are constants) only the layout of ``x`` is used, and the backend gets ``None``.
    """
    x = dense(x, "x")
    _check(x, {"pivot": pivot, "K": K}, {"A": A, "E": E})
    g = like(g, x, "g")
    return backend.of(g).grad_affine(g, None if K is None else x, pivot, A, E, K)


@torch.compiler.allow_in_graph
def pooled(x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str) -> Tensor:
    """Return Σₙ f(u), ``[B, C]``. Reads ``x`` once."""
    x = dense(x, "x")
    _check(x, {"pivot": pivot, "a": a, "b": b}, activation=activation)
    return backend.of(x).pooled(x, pivot, a, b, activation)


@torch.compiler.allow_in_graph
def activate(
    x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, S: Tensor | None, activation: str
) -> Tensor:
    """Return y = S f(u), like ``x``; ``S`` of ``None`` is 1. Reads ``x``, writes ``y``."""
    x = dense(x, "x")
    _check(x, {"pivot": pivot, "a": a, "b": b}, {"S": S}, activation)
    return backend.of(x).activate(x, pivot, a, b, S, activation)


@torch.compiler.allow_in_graph
def grad_pooled(
    dy: Tensor,
    x: Tensor,
    pivot: Tensor | None,
    a: Tensor,
    b: Tensor,
    activation: str,
    se: bool = False,
) -> list[Tensor]:
    """Return S1 and S2, and with ``se`` also Σₙ dy f(u), C1 and C2, each ``[B, C]``.

    Reads ``dy`` and ``x`` once.
    """
    x = dense(x, "x")
    _check(x, {"pivot": pivot, "a": a, "b": b}, activation=activation)
    return backend.of(x).grad_pooled(like(dy, x, "dy"), x, pivot, a, b, activation, se)


@torch.compiler.allow_in_graph
def grad_activate(
    dy: Tensor,
    x: Tensor,
    pivot: Tensor | None,
    a: Tensor,
    b: Tensor,
    activation: str,
    A: Tensor,
    E: Tensor | None,
    K: Tensor | None,
    L: Tensor | None,
) -> Tensor:
    """Return dx = f'(u) (A dy + E) − L − K (x − p), like ``x``. Reads ``dy``, ``x``, writes ``dx``.

    ``A`` and ``E`` are ``[B, C]``, ``K`` and ``L`` are ``[C]``; ``None`` is zero.
    """
    x = dense(x, "x")
    _check(x, {"pivot": pivot, "a": a, "b": b, "K": K, "L": L}, {"A": A, "E": E}, activation)
    dy = like(dy, x, "dy")
    return backend.of(x).grad_activate(dy, x, pivot, a, b, activation, A, E, K, L)


def dense(x: Tensor, name: str) -> Tensor:
    """Return ``x`` in one of the two layouts that backends read, contiguous or channels-last."""
    if x.dim() < 2 or not x.is_floating_point():
        raise ValueError(f"{name}: expected a map [B, C, *space] of floats, got {_described(x)}")
    return x if x.is_contiguous() or is_channels_last(x) else x.contiguous()


@overload
def like(x: Tensor, model: Tensor, name: str) -> Tensor: ...
@overload
def like(x: None, model: Tensor, name: str) -> None: ...
@overload
def like(x: Tensor | None, model: Tensor, name: str) -> Tensor | None: ...
def like(x: Tensor | None, model: Tensor, name: str) -> Tensor | None:
    """Return ``x`` in the layout and type of ``model``, so that all maps share one index."""
    if x is None:
        return None
    if x.shape != model.shape or x.device != model.device:
        raise ValueError(
            f"{name}: expected a map {list(model.shape)} on {model.device}, got {_described(x)}"
        )
    if x.stride() == model.stride() and x.dtype == model.dtype:
        return x
    x = x.to(model.dtype)
    if model.is_contiguous():
        return x.contiguous()
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def is_channels_last(x: Tensor) -> bool:
    """Whether a map ``[B, C, *space]`` is channels-last, for any number of dimensions."""
    if x.dim() == 4:
        return x.is_contiguous(memory_format=torch.channels_last)
    return x.movedim(1, -1).is_contiguous()


def _check(
    x: Tensor,
    of_channels: Mapping[str, Tensor | None],
    of_images: Mapping[str, Tensor | None] | None = None,
    activation: str = "relu",
) -> None:
    """Check the arrays ``[C]`` and ``[B, C]`` of a call on the map ``x``, and its activation.

    Raises:
        ValueError: if an array has a wrong shape, type or device, or the activation is unknown.
    """
    type_, device = accumulator(x.dtype), x.device
    per_channel = x.shape[1:2]
    for name, v in of_channels.items():
        if v is not None and (v.shape != per_channel or v.dtype != type_ or v.device != device):
            raise _unlike(name, v, per_channel, x, "per channel")
    per_image = x.shape[:2]
    for name, v in of_images.items() if of_images else ():
        if v is not None and (v.shape != per_image or v.dtype != type_ or v.device != device):
            raise _unlike(name, v, per_image, x, "per image and channel")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {list(ACTIVATIONS)}, got {activation!r}")


def _unlike(name: str, v: Tensor, shape: torch.Size, x: Tensor, each: str) -> ValueError:
    wanted = f"{str(accumulator(x.dtype))[6:]} {list(shape)} on {x.device}"
    return ValueError(
        f"{name}: expected {wanted}, one number {each} of a map {list(x.shape)}, "
        f"got {_described(v)}"
    )


def _described(v: Tensor) -> str:
    return f"{str(v.dtype)[6:]} {list(v.shape)} on {v.device}"
