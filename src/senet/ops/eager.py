"""The passes in plain PyTorch, for any device and any floating type.

The contract is in :mod:`senet.ops.passes`; these are its formulas, one line each. Every sum and
product is computed in the accumulator type and rounded once, to the type of the map.
"""

from __future__ import annotations

import torch
from torch import Tensor

from senet.ops.activation import ACTIVATIONS
from senet.ops.mask import as_map


def takes(x: Tensor) -> bool:
    """Whether this backend can run on ``x``: always."""
    return True


def moments(x: Tensor, pivot: Tensor | None) -> tuple[Tensor, Tensor]:
    x = _about(x, pivot)
    return _over_space(x), _over_space(x.square())


def affine(
    x: Tensor,
    pivot: Tensor | None,
    A: Tensor,
    D: Tensor,
    shortcut: Tensor | None,
    relu: bool,
    keep: bool = False,
) -> Tensor | tuple[Tensor, Tensor | None]:
    y = _map(A, x) * _about(x, pivot) + _map(D, x)
    if shortcut is not None:
        y = y + shortcut
    if relu:
        y = y.relu()
    y = y.to(x.dtype)
    return (y, y if relu else None) if keep else y


def grad_scale(
    dy: Tensor, mask: Tensor | None, x: Tensor, pivot: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    g = dy if mask is None else dy.masked_fill(as_map(mask, x) <= 0, 0)
    return g, _over_space(_wide(g)), _over_space(_wide(g) * _about(x, pivot))


def grad_affine(
    g: Tensor,
    x: Tensor | None,
    pivot: Tensor | None,
    A: Tensor,
    E: Tensor | None,
    K: Tensor | None,
) -> Tensor:
    dx = _map(A, g) * g
    if E is not None:
        dx = dx + _map(E, g)
    if K is not None:
        assert x is not None
        dx = dx - _channel(K, g) * _about(x, pivot)
    return dx.to(g.dtype)


def pooled(x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str) -> Tensor:
    u = _normed(x, pivot, a, b)
    return _over_space(ACTIVATIONS[activation].function(u))


def activate(
    x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, S: Tensor | None, activation: str
) -> Tensor:
    y = ACTIVATIONS[activation].function(_normed(x, pivot, a, b))
    if S is not None:
        y = _map(S, x) * y
    return y.to(x.dtype)


def grad_pooled(
    dy: Tensor,
    x: Tensor,
    pivot: Tensor | None,
    a: Tensor,
    b: Tensor,
    activation: str,
    se: bool,
) -> list[Tensor]:
    f, dy, u = ACTIVATIONS[activation], _wide(dy), _normed(x, pivot, a, b)
    g, x = f.backward(dy, u), _about(x, pivot)
    sums = [g, g * x]
    if se:
        slope = f.slope(u)
        sums += [dy * f.function(u), slope, slope * x]
    return [_over_space(terms) for terms in sums]


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
    dv = _map(A, x) * dy
    if E is not None:
        dv = dv + _map(E, x)
    dx = ACTIVATIONS[activation].backward(dv, _normed(x, pivot, a, b))
    if L is not None:
        dx = dx - _channel(L, x)
    if K is not None:
        dx = dx - _channel(K, x) * _about(x, pivot)
    return dx.to(x.dtype)


def _normed(x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """Return u = a (x − p) + b."""
    return _channel(a, x) * _about(x, pivot) + _channel(b, x)


def _about(x: Tensor, pivot: Tensor | None) -> Tensor:
    return _wide(x) if pivot is None else _wide(x) - _channel(pivot, x)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _over_space(x: Tensor) -> Tensor:
    return x.sum(list(range(2, x.dim()))) if x.dim() > 2 else x


def _map(v: Tensor, x: Tensor) -> Tensor:
    """Reshape ``[B, C]`` to broadcast with ``[B, C, *space]``."""
    # Contiguous, so that the layout of v does not determine that of the result.
    return v.contiguous().reshape(v.shape + (1,) * (x.dim() - 2))


def _channel(v: Tensor, x: Tensor) -> Tensor:
    """Reshape ``[C]`` to broadcast with ``[B, C, *space]``."""
    return v.reshape((-1,) + (1,) * (x.dim() - 2))
