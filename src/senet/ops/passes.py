"""The streaming passes: the only loops over feature maps in this project.

``x`` is a feature map ``[B, C, *space]`` with ``N`` positions; ``pivot`` is one number a channel,
``[C]``, about which ``x`` is taken (``None`` is zero). Taking ``x`` about a number near its mean is
what keeps sums of squares, and gradients of the variance, exact when the mean is large beside the
standard deviation. Everything else is ``[B, C]``, or ``[C]`` where that is said, in float32
(float64 for a float64 map) whatever the type of the map: the type of :func:`accumulator`.

===============  =======================================================================
``moments``      Σₙ (x − p) and Σₙ (x − p)²
``affine``       y = activation(A (x − p) + D + shortcut)
``grad_moments`` S1 = Σₙ g and S2 = Σₙ g (x − p), with g = dy where y > 0, else 0
``grad_affine``  dx = A g + E − K (x − p) and dshortcut = g
===============  =======================================================================

These four are enough where SE follows batch norm. Where an activation f stands between the two,
there are four more, with u = a (x − p) + b for numbers a and b of a channel, ``[C]``. f is a name
of :data:`senet.ops.activation.ACTIVATIONS`:

=================  =====================================================================
``pooled``         Σₙ f(u)
``activate``       y = S f(u)
``grad_pooled``    S1 = Σₙ g and S2 = Σₙ g (x − p), with g = dy f'(u); and for SE
                   Σₙ dy f(u), C1 = Σₙ f'(u) and C2 = Σₙ f'(u) (x − p)
``grad_activate``  dx = f'(u) (A dy + E) − L − K (x − p)
=================  =====================================================================

A backend is a module with these functions. This file fixes what they may rely on (one dense
layout for all maps of a call: contiguous or channels-last) and hands the call to the backend that
:mod:`senet.ops.backend` chose; :mod:`senet.ops.eager` says in plain PyTorch what each must return.
``allow_in_graph``: torch.compile's front end must not look inside, for it does not know how a
gradient lies in memory; further down, where it does, the passes are traced like all else.
"""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from senet.ops import backend


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The type in which maps of ``dtype`` are summed: float32, or float64 for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@torch.compiler.allow_in_graph
def moments(x: Tensor, pivot: Tensor | None) -> tuple[Tensor, Tensor]:
    """Σₙ (x − p) and Σₙ (x − p)², each ``[B, C]``. Reads ``x`` once."""
    x = _dense(x)
    return backend.of(x).moments(x, pivot)


@torch.compiler.allow_in_graph
def affine(
    x: Tensor,
    pivot: Tensor | None,
    A: Tensor,
    D: Tensor,
    shortcut: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """y = A (x − p) + D + shortcut, then ReLU if asked. Reads ``x`` and ``shortcut``, writes ``y``.

    ``A`` and ``D`` are ``[B, C]``; ``y`` has the type and the layout of ``x``.
    """
    x = _dense(x)
    return backend.of(x).affine(x, pivot, A, D, _like(shortcut, x), relu)


@torch.compiler.allow_in_graph
def grad_moments(
    dy: Tensor, y: Tensor | None, x: Tensor, pivot: Tensor | None
) -> tuple[Tensor, Tensor]:
    """S1 = Σₙ g and S2 = Σₙ g (x − p), each ``[B, C]``. Reads ``dy``, ``y`` and ``x`` once.

    ``y`` is the output of a pass that ended in ReLU, and ``None`` where it did not: then g = dy.
    """
    x = _dense(x)
    return backend.of(x).grad_moments(_like(dy, x), _like(y, x), x, pivot)


@torch.compiler.allow_in_graph
def grad_affine(
    dy: Tensor,
    y: Tensor | None,
    x: Tensor,
    pivot: Tensor | None,
    A: Tensor,
    E: Tensor | None,
    K: Tensor | None,
    shortcut: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """dx = A g + E − K (x − p), and with ``shortcut`` also dshortcut = g (else ``None``).

    ``A`` and ``E`` are ``[B, C]``, ``K`` is ``[C]``. ``E`` of ``None`` is zero; so is ``K`` (the
    statistics were constants), and then ``x`` only lends its layout and is not read: a backend
    gets ``None``. Where there was no activation, g is dy itself, so no second map is written:
    dshortcut *is* ``dy``.
    """
    x = _dense(x)
    dy = _like(dy, x)
    dx, g = backend.of(dy).grad_affine(
        dy, _like(y, x), None if K is None else x, pivot, A, E, K, shortcut and y is not None
    )
    return dx, (dy if y is None else g) if shortcut else None


@torch.compiler.allow_in_graph
def pooled(x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str) -> Tensor:
    """Σₙ f(u), ``[B, C]``. Reads ``x`` once."""
    x = _dense(x)
    return backend.of(x).pooled(x, pivot, a, b, activation)


@torch.compiler.allow_in_graph
def activate(
    x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, S: Tensor | None, activation: str
) -> Tensor:
    """y = S f(u), like ``x``. Reads ``x``, writes ``y``. ``S`` is ``[B, C]``, and ``None`` is 1."""
    x = _dense(x)
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
    """S1 and S2, and with ``se`` also Σₙ dy f(u), C1 and C2, each ``[B, C]``.

    Reads ``dy`` and ``x`` once.
    """
    x = _dense(x)
    return backend.of(x).grad_pooled(_like(dy, x), x, pivot, a, b, activation, se)


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
    """dx = f'(u) (A dy + E) − L − K (x − p), like ``x``. Reads ``dy`` and ``x``, writes ``dx``.

    ``A`` and ``E`` are ``[B, C]``, ``K`` and ``L`` are ``[C]``; what is ``None`` is zero.
    """
    x = _dense(x)
    return backend.of(x).grad_activate(_like(dy, x), x, pivot, a, b, activation, A, E, K, L)


def _dense(x: Tensor) -> Tensor:
    """``x`` in one of the two layouts that the backends read: contiguous, or channels last."""
    return x if x.is_contiguous() or is_channels_last(x) else x.contiguous()


@overload
def _like(x: Tensor, model: Tensor) -> Tensor: ...
@overload
def _like(x: None, model: Tensor) -> None: ...
def _like(x: Tensor | None, model: Tensor) -> Tensor | None:
    """``x`` in the layout and type of ``model``, so that one index walks all maps of a call."""
    if x is None:
        return None
    assert x.shape == model.shape, (x.shape, model.shape)
    if x.stride() == model.stride() and x.dtype == model.dtype:
        return x
    x = x.to(model.dtype)
    if model.is_contiguous():
        return x.contiguous()
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of ``[B, C, *space]`` lie next to one another, for any dimension."""
    if x.dim() == 4:
        return x.is_contiguous(memory_format=torch.channels_last)
    return x.movedim(1, -1).is_contiguous()
