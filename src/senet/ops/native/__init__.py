"""The passes on the CPU, in C: ``passes.c``. The contract is in :mod:`senet.ops.passes`.

Each pass is an operator of PyTorch, ``torch.ops.senet_native.*``, so that compiling, tracing, fake
tensors and counting modes see one operator and its shapes. It has no derivative of its own:
autograd stands above, in :mod:`senet.ops.fused`.
"""

from __future__ import annotations

import ctypes
import math
from typing import overload

import torch
from torch import Tensor

from senet.ops.native import library

_c = library.load()

# As in passes.c.
_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
_ACTIVATIONS = {"relu": 0, "relu6": 1, "silu": 2, "hardswish": 3}


def takes(x: Tensor) -> bool:
    """Whether this backend can run on ``x``: float32, bfloat16 and float16, on the CPU."""
    return x.dtype in _TYPES and x.device.type == "cpu"


def moments(x: Tensor, pivot: Tensor | None) -> tuple[Tensor, Tensor]:
    return _ops.moments.default(x, pivot)


def affine(
    x: Tensor, pivot: Tensor | None, A: Tensor, D: Tensor, shortcut: Tensor | None, relu: bool
) -> Tensor:
    return _ops.affine.default(x, pivot, A, D, shortcut, relu)


def grad_moments(
    dy: Tensor, y: Tensor | None, x: Tensor, pivot: Tensor | None
) -> tuple[Tensor, Tensor]:
    return _ops.grad_moments.default(dy, y, x, pivot)


def grad_affine(
    dy: Tensor,
    y: Tensor | None,
    x: Tensor | None,
    pivot: Tensor | None,
    A: Tensor,
    E: Tensor | None,
    K: Tensor | None,
    shortcut: bool,
) -> tuple[Tensor, Tensor | None]:
    if K is None:
        x = None
    if y is None or not shortcut:
        (dx,) = _ops.grad_affine.default(dy, y, x, pivot, A, E, K, False)
        return dx, (dy if shortcut else None)
    dx, g = _ops.grad_affine.default(dy, y, x, pivot, A, E, K, True)
    return dx, g


def pooled(x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str) -> Tensor:
    return _ops.pooled.default(x, pivot, a, b, activation)


def activate(
    x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, S: Tensor | None, activation: str
) -> Tensor:
    return _ops.activate.default(x, pivot, a, b, S, activation)


def grad_pooled(
    dy: Tensor, x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str, se: bool
) -> list[Tensor]:
    return _ops.grad_pooled.default(dy, x, pivot, a, b, activation, se)


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
    return _ops.grad_activate.default(dy, x, pivot, a, b, activation, A, E, K, L)


# C sees addresses and nothing else. Every tensor whose address is passed has a name in the function
# that passes it, and so lives until the call has returned.


def _moments(x: Tensor, pivot: Tensor | None) -> tuple[Tensor, Tensor]:
    pivot = _vector(pivot)
    sums, squares = _sums_of(x, 2)
    _check(
        _c.senet_moments(
            x.data_ptr(), _address(pivot), sums.data_ptr(), squares.data_ptr(), *_layout(x)
        )
    )
    return sums, squares


def _affine(
    x: Tensor, pivot: Tensor | None, A: Tensor, D: Tensor, shortcut: Tensor | None, relu: bool
) -> Tensor:
    pivot, A, D = _vector(pivot), _vector(A), _vector(D)
    y = torch.empty_like(x)
    _c.senet_affine(
        x.data_ptr(),
        _address(pivot),
        A.data_ptr(),
        D.data_ptr(),
        _address(shortcut),
        relu,
        y.data_ptr(),
        *_layout(x, shortcut),
    )
    return y


def _grad_moments(
    dy: Tensor, y: Tensor | None, x: Tensor, pivot: Tensor | None
) -> tuple[Tensor, Tensor]:
    pivot = _vector(pivot)
    S1, S2 = _sums_of(x, 2)
    _check(
        _c.senet_grad_moments(
            dy.data_ptr(),
            _address(y),
            x.data_ptr(),
            _address(pivot),
            S1.data_ptr(),
            S2.data_ptr(),
            *_layout(x, dy, y),
        )
    )
    return S1, S2


def _grad_affine(
    dy: Tensor,
    y: Tensor | None,
    x: Tensor | None,
    pivot: Tensor | None,
    A: Tensor,
    E: Tensor | None,
    K: Tensor | None,
    shortcut: bool,
) -> list[Tensor]:
    assert y is not None or not shortcut, "without a ReLU dshortcut is dy"
    pivot, A, E, K = _vector(pivot), _vector(A), _vector(E), _vector(K)
    grads = _grads_of(dy, y, x, pivot, A, E, K, shortcut)
    dx, dshortcut = grads[0], grads[1] if shortcut else None
    _c.senet_grad_affine(
        dy.data_ptr(),
        _address(y),
        _address(x),
        _address(pivot),
        A.data_ptr(),
        _address(E),
        _address(K),
        dx.data_ptr(),
        _address(dshortcut),
        *_layout(dy, y, x),
    )
    return grads


def _pooled(x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str) -> Tensor:
    pivot, a, b = _vector(pivot), _vector(a), _vector(b)
    (sums,) = _sums_of(x, 1)
    _check(
        _c.senet_pooled(
            x.data_ptr(),
            _address(pivot),
            a.data_ptr(),
            b.data_ptr(),
            _ACTIVATIONS[activation],
            sums.data_ptr(),
            *_layout(x),
        )
    )
    return sums


def _activate(
    x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, S: Tensor | None, activation: str
) -> Tensor:
    pivot, a, b, S = _vector(pivot), _vector(a), _vector(b), _vector(S)
    y = torch.empty_like(x)
    _c.senet_activate(
        x.data_ptr(),
        _address(pivot),
        a.data_ptr(),
        b.data_ptr(),
        _address(S),
        _ACTIVATIONS[activation],
        y.data_ptr(),
        *_layout(x),
    )
    return y


def _grad_pooled(
    dy: Tensor, x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str, se: bool
) -> list[Tensor]:
    pivot, a, b = _vector(pivot), _vector(a), _vector(b)
    sums = _sums_of(x, 5 if se else 2)
    addresses = (ctypes.c_void_p * len(sums))(*(s.data_ptr() for s in sums))
    _check(
        _c.senet_grad_pooled(
            dy.data_ptr(),
            x.data_ptr(),
            _address(pivot),
            a.data_ptr(),
            b.data_ptr(),
            _ACTIVATIONS[activation],
            addresses,
            len(sums),
            *_layout(x, dy),
        )
    )
    return sums


def _grad_activate(
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
    pivot, a, b = _vector(pivot), _vector(a), _vector(b)
    A, E, K, L = _vector(A), _vector(E), _vector(K), _vector(L)
    dx = torch.empty_like(dy)
    _c.senet_grad_activate(
        dy.data_ptr(),
        x.data_ptr(),
        _address(pivot),
        a.data_ptr(),
        b.data_ptr(),
        _ACTIVATIONS[activation],
        A.data_ptr(),
        _address(E),
        _address(K),
        _address(L),
        dx.data_ptr(),
        *_layout(dy, x),
    )
    return dx


# What the operators return, without the values: shapes, types and layouts.


def _sums_of(x: Tensor, number: int) -> list[Tensor]:
    return [x.new_empty(x.shape[:2], dtype=torch.float32) for _ in range(number)]


def _grads_of(dy: Tensor, y, x, pivot, A, E, K, shortcut: bool) -> list[Tensor]:
    return [torch.empty_like(dy) for _ in range(1 + shortcut)]


@overload
def _vector(v: Tensor) -> Tensor: ...
@overload
def _vector(v: None) -> None: ...
@overload
def _vector(v: Tensor | None) -> Tensor | None: ...
def _vector(v: Tensor | None) -> Tensor | None:
    """A ``[B, C]`` or ``[C]`` array as C reads it."""
    assert v is None or v.dtype == torch.float32, v
    return None if v is None else v.contiguous()


def _address(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _check(out_of_memory: int) -> None:
    if out_of_memory:
        raise MemoryError("no memory for the partial sums of a feature map")


def _layout(x: Tensor, *others: Tensor | None) -> tuple[int, int, int, int, int, int]:
    """How C walks ``x``, and all that lie like it: ``layout`` in passes.c; and by what threads."""
    B, C, *space = x.shape
    N = math.prod(space)
    contiguous = x.is_contiguous()
    assert contiguous or _is_channels_last(x), x.stride()
    for other in others:
        assert other is None or _lies_like(other, x, contiguous), (x.stride(), other.stride())
    # Where there is one position only, the two layouts are one; the second walk is the faster.
    images, columns = (B * C, 1) if contiguous and N != 1 else (B, C)
    return images, N, columns, C, _TYPES[x.dtype], torch.get_num_threads()


def _lies_like(other: Tensor, x: Tensor, contiguous: bool) -> bool:
    if other.shape != x.shape or other.dtype != x.dtype:
        return False
    return other.is_contiguous() if contiguous else _is_channels_last(other)


def _is_channels_last(x: Tensor) -> bool:
    if x.dim() == 4:  # PyTorch answers for 2-D maps, and ten times as fast
        return x.is_contiguous(memory_format=torch.channels_last)
    return x.movedim(1, -1).is_contiguous()


_MAPS = "Tensor dy, Tensor? y, Tensor? x, Tensor? pivot, Tensor A, Tensor? E, Tensor? K"
_NORMED = "Tensor x, Tensor? pivot, Tensor a, Tensor b"
_OPERATORS = {
    "moments(Tensor x, Tensor? pivot) -> (Tensor, Tensor)": (
        _moments,
        lambda x, pivot: tuple(_sums_of(x, 2)),
    ),
    "affine(Tensor x, Tensor? pivot, Tensor A, Tensor D, Tensor? shortcut, bool relu) -> Tensor": (
        _affine,
        lambda x, *_: torch.empty_like(x),
    ),
    "grad_moments(Tensor dy, Tensor? y, Tensor x, Tensor? pivot) -> (Tensor, Tensor)": (
        _grad_moments,
        lambda dy, y, x, pivot: tuple(_sums_of(x, 2)),
    ),
    f"grad_affine({_MAPS}, bool shortcut) -> Tensor[]": (_grad_affine, _grads_of),
    f"pooled({_NORMED}, str activation) -> Tensor": (_pooled, lambda x, *_: _sums_of(x, 1)[0]),
    f"activate({_NORMED}, Tensor? S, str activation) -> Tensor": (
        _activate,
        lambda x, *_: torch.empty_like(x),
    ),
    f"grad_pooled(Tensor dy, {_NORMED}, str activation, bool se) -> Tensor[]": (
        _grad_pooled,
        lambda dy, x, pivot, a, b, activation, se: _sums_of(x, 5 if se else 2),
    ),
    f"grad_activate(Tensor dy, {_NORMED}, str activation, "
    "Tensor A, Tensor? E, Tensor? K, Tensor? L) -> Tensor": (
        _grad_activate,
        lambda dy, *_: torch.empty_like(dy),
    ),
}

_namespace = torch.library.Library("senet_native", "DEF")
# A compiler must hand the maps over in the layout in which it saw them.
_as_traced = getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)
for _schema, (_run, _shape) in _OPERATORS.items():
    _name = _namespace.define(_schema, tags=(_as_traced,))
    _namespace.impl(_name, _run, "CPU")
    torch.library.register_fake(f"senet_native::{_name}", _shape, lib=_namespace)
_ops = torch.ops.senet_native
