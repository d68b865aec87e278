"""The passes on the CPU, in C: ``passes.c``. The contract is in :mod:`senet.ops.passes`.

Each pass is an operator of PyTorch, ``torch.ops.senet_native.*``, so that compiling, tracing, fake
tensors and counting modes see one operator and its shapes. It has no derivative of its own:
autograd is implemented above, in :mod:`senet.ops.tail`.

This is one file because every pass stands in it three times in the same order: the function of the
contract, what calls C, and its registration.
"""

from __future__ import annotations

import ctypes
import math
import sys
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor

from senet.ops import mask as masks
from senet.ops.native import library

_c = library.load()

# As in inline.h.
TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
ACTIVATIONS = {"relu": 0, "relu6": 1, "silu": 2, "hardswish": 3}
GATES = {"sigmoid": 4, "hardsigmoid": 5}
_WORD = 16


def takes(x: Tensor) -> bool:
    """Whether this backend can run on ``x``: float32, bfloat16 and float16, on the CPU."""
    return x.dtype in TYPES and x.device.type == "cpu"


def moments(x: Tensor, pivot: Tensor | None) -> tuple[Tensor, Tensor]:
    return _ops.moments.default(x, pivot)


def affine(
    x: Tensor,
    pivot: Tensor | None,
    A: Tensor,
    D: Tensor,
    shortcut: Tensor | None,
    relu: bool,
    keep: bool = False,
) -> Tensor | tuple[Tensor, Tensor | None]:
    if keep and relu and keeps_bits(x):
        return _ops.affine_with_mask.default(x, pivot, A, D, shortcut)
    y = _ops.affine.default(x, pivot, A, D, shortcut, relu)
    return (y, y if relu else None) if keep else y


def keeps_bits(x: Tensor) -> bool:
    """Whether the mask of a ReLU after ``x`` is kept in bits, so the backward reads one map less.

    Measured by ``python -m benchmarks.ops.passes --masks``, forward and backward together: float32
    maps gain, except those with short contiguous rows. Maps of a narrower type are read so fast
    that writing the bits costs what they save.
    """
    return x.dtype == torch.float32 and has_words(x) and (_by_channels(x) or _row(x) >= 128)


def grad_scale(
    dy: Tensor, mask: Tensor | None, x: Tensor, pivot: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    if mask is not None and masks.in_bits(mask) and not has_words(x):
        mask = masks.as_map(mask, x)
    *g, S1, S2 = _ops.grad_scale.default(dy, mask, x, pivot)
    return g[0] if g else dy, S1, S2


def grad_affine(
    g: Tensor,
    x: Tensor | None,
    pivot: Tensor | None,
    A: Tensor,
    E: Tensor | None,
    K: Tensor | None,
) -> Tensor:
    return _ops.grad_affine.default(g, None if K is None else x, pivot, A, E, K)


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


def call(function: Any, maps: tuple[Tensor | None, ...], *arguments: Any) -> None:
    """Call a function of the library with ``arguments`` and the layout that ``maps`` share.

    C gets only the addresses of tensors. This call holds the tensors until C has returned.
    """
    addresses = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    if function(*addresses, *layout(*maps)):  # type: ignore[arg-type]
        raise MemoryError("no memory for the partial sums of a feature map")


def _moments(x: Tensor, pivot: Tensor | None) -> tuple[Tensor, Tensor]:
    pivot = of_channels(pivot, x)
    sums, squares = _sums_of(x, 2)
    call(_c.senet_moments, (x,), x, pivot, sums, squares)
    return sums, squares


def _affine(
    x: Tensor,
    pivot: Tensor | None,
    A: Tensor,
    D: Tensor,
    shortcut: Tensor | None,
    relu: bool,
    bits: Tensor | None = None,
) -> Tensor:
    pivot, A, D = of_channels(pivot, x), of_images(A, x), of_images(D, x)
    y = torch.empty_like(x)
    call(_c.senet_affine, (x, shortcut), x, pivot, A, D, shortcut, relu, y, bits)
    return y


def _affine_with_mask(
    x: Tensor, pivot: Tensor | None, A: Tensor, D: Tensor, shortcut: Tensor | None
) -> tuple[Tensor, Tensor]:
    bits = bits_of(x)
    check_bits(bits, x)
    return _affine(x, pivot, A, D, shortcut, True, bits), bits


def _grad_scale(dy: Tensor, mask: Tensor | None, x: Tensor, pivot: Tensor | None) -> list[Tensor]:
    pivot = of_channels(pivot, x)
    y = bits = None
    if mask is not None and masks.in_bits(mask):
        check_bits(mask, x)
        bits = mask
    else:
        y = mask
    results = _scaled(dy, mask, x, pivot)
    g, S1, S2 = results if mask is not None else (None, *results)
    call(_c.senet_grad_scale, (x, dy, y), dy, y, bits, x, pivot, g, S1, S2)
    return results


def _grad_affine(
    g: Tensor,
    x: Tensor | None,
    pivot: Tensor | None,
    A: Tensor,
    E: Tensor | None,
    K: Tensor | None,
) -> Tensor:
    pivot, K = of_channels(pivot, g), of_channels(K, g)
    A, E = of_images(A, g), of_images(E, g)
    if K is not None and x is None:
        raise ValueError("with K, dx needs x")
    dx = torch.empty_like(g)
    call(_c.senet_grad_affine, (g, x), g, x, pivot, A, E, K, dx)
    return dx


def _pooled(x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str) -> Tensor:
    pivot, a, b = of_channels(pivot, x), of_channels(a, x), of_channels(b, x)
    (sums,) = _sums_of(x, 1)
    call(_c.senet_pooled, (x,), x, pivot, a, b, ACTIVATIONS[activation], sums)
    return sums


def _activate(
    x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, S: Tensor | None, activation: str
) -> Tensor:
    pivot, a, b = of_channels(pivot, x), of_channels(a, x), of_channels(b, x)
    S = of_images(S, x)
    y = torch.empty_like(x)
    call(_c.senet_activate, (x,), x, pivot, a, b, S, ACTIVATIONS[activation], y)
    return y


def _grad_pooled(
    dy: Tensor, x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str, se: bool
) -> list[Tensor]:
    pivot, a, b = of_channels(pivot, x), of_channels(a, x), of_channels(b, x)
    sums = _sums_of(x, 5 if se else 2)
    addresses = (ctypes.c_void_p * len(sums))(*(s.data_ptr() for s in sums))
    f = ACTIVATIONS[activation]
    call(_c.senet_grad_pooled, (x, dy), dy, x, pivot, a, b, f, addresses, len(sums))
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
    pivot, a, b = of_channels(pivot, x), of_channels(a, x), of_channels(b, x)
    A, E = of_images(A, x), of_images(E, x)
    K, L = of_channels(K, x), of_channels(L, x)
    dx = torch.empty_like(dy)
    f = ACTIVATIONS[activation]
    call(_c.senet_grad_activate, (dy, x), dy, x, pivot, a, b, f, A, E, K, L, dx)
    return dx


# The results of the operators without values: shapes, types and layouts.


def _sums_of(x: Tensor, number: int) -> list[Tensor]:
    return [x.new_empty(x.shape[:2], dtype=torch.float32) for _ in range(number)]


def bits_of(x: Tensor) -> Tensor:
    return x.new_empty(masks.length(x), dtype=torch.uint8)


def _scaled(dy: Tensor, mask: Tensor | None, x: Tensor, pivot: Tensor | None) -> list[Tensor]:
    g = [] if mask is None else [torch.empty_like(dy)]
    return [*g, *_sums_of(x, 2)]


# The arguments of C are checked here again: an operator can be called directly, and the shapes
# state how far C reads.


@overload
def of_channels(v: Tensor, x: Tensor) -> Tensor: ...
@overload
def of_channels(v: None, x: Tensor) -> None: ...
@overload
def of_channels(v: Tensor | None, x: Tensor) -> Tensor | None: ...
def of_channels(v: Tensor | None, x: Tensor) -> Tensor | None:
    """Return a ``[C]`` array as C reads it."""
    return None if v is None else of_shape(v, x.shape[1:2])


@overload
def of_images(v: Tensor, x: Tensor) -> Tensor: ...
@overload
def of_images(v: None, x: Tensor) -> None: ...
@overload
def of_images(v: Tensor | None, x: Tensor) -> Tensor | None: ...
def of_images(v: Tensor | None, x: Tensor) -> Tensor | None:
    """Return a ``[B, C]`` array as C reads it."""
    return None if v is None else of_shape(v, x.shape[:2])


def of_shape(v: Tensor, shape: torch.Size) -> Tensor:
    """Return an array of floats as C reads it."""
    if v.shape != shape or v.dtype != torch.float32 or not v.is_cpu:
        raise ValueError(
            f"expected float32 {list(shape)} on cpu, "
            f"got {str(v.dtype)[6:]} {list(v.shape)} on {v.device}"
        )
    return v.contiguous()


def check_bits(bits: Tensor, x: Tensor) -> None:
    if not has_words(x):
        raise ValueError(f"a mask in bits must have whole words of {_WORD}, not {_described(x)}")
    if bits.shape != (masks.length(x),) or not bits.is_contiguous():
        raise ValueError(f"expected uint8 [{masks.length(x)}], got {_described(bits)}")


class Layout(NamedTuple):
    """The last arguments of every function of the library.

    Attributes:
        images: blocks of ``rows`` × ``columns`` numbers, as ``layout`` in passes.c says.
        rows: positions.
        columns: channels of a position, or 1 in contiguous maps.
        channels: C.
        type: the number type, of ``TYPES``.
        threads: the maximum number of threads.
    """

    images: int
    rows: int
    columns: int
    channels: int
    type: int
    threads: int


def layout(x: Tensor, *others: Tensor | None) -> Layout:
    """Return the layout that C gets for ``x`` and ``others``.

    Raises:
        ValueError: if a map is not dense or of another type, or the layouts differ.
    """
    B, C, *space = x.shape
    N = math.prod(space)
    contiguous = x.is_contiguous()
    if x.dtype not in TYPES or not (contiguous or _is_channels_last(x)):
        raise ValueError(f"expected a dense map of one of {list(TYPES)}, got {_described(x)}")
    for other in others:
        if other is not None and not _lies_like(other, x, contiguous):
            raise ValueError(f"maps must lie alike, got {_described(x)} and {_described(other)}")
    images, columns = (B, C) if _by_channels(x) else (B * C, 1)
    return Layout(images, N, columns, C, TYPES[x.dtype], torch.get_num_threads())


def _by_channels(x: Tensor) -> bool:
    """Whether C reads ``x`` in rows of channels, not of positions.

    With a single position the two layouts are the same, and rows of channels are faster.
    """
    return not x.is_contiguous() or math.prod(x.shape[2:]) == 1


def _row(x: Tensor) -> int:
    """Return the length of a row of ``x``: its adjacent numbers of one position or channel."""
    return x.shape[1] if _by_channels(x) else math.prod(x.shape[2:])


def has_words(x: Tensor) -> bool:
    """Whether rows of ``x`` start and end at words of a mask in bits."""
    return _row(x) % _WORD == 0 and sys.byteorder == "little"


def _described(x: Tensor) -> str:
    return f"{str(x.dtype)[6:]} {list(x.shape)} of strides {list(x.stride())}"


def _lies_like(other: Tensor, x: Tensor, contiguous: bool) -> bool:
    if other.shape != x.shape or other.dtype != x.dtype:
        return False
    return other.is_contiguous() if contiguous else _is_channels_last(other)


def _is_channels_last(x: Tensor) -> bool:
    if x.dim() == 4:  # PyTorch has this test for 2-D maps, ten times as fast
        return x.is_contiguous(memory_format=torch.channels_last)
    return x.movedim(1, -1).is_contiguous()


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
    "grad_scale(Tensor dy, Tensor? mask, Tensor x, Tensor? pivot) -> Tensor[]": (
        _grad_scale,
        _scaled,
    ),
    "grad_affine(Tensor g, Tensor? x, Tensor? pivot, Tensor A, Tensor? E, Tensor? K) -> Tensor": (
        _grad_affine,
        lambda g, *_: torch.empty_like(g),
    ),
    "affine_with_mask(Tensor x, Tensor? pivot, Tensor A, Tensor D, Tensor? shortcut)"
    " -> (Tensor, Tensor)": (
        _affine_with_mask,
        lambda x, *_: (torch.empty_like(x), bits_of(x)),
    ),
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
# A compiler must pass the maps in the layout in which it traced them.
_as_traced = getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)
for _schema, (_run, _shape) in _OPERATORS.items():
    _name = _namespace.define(_schema, tags=(_as_traced,))
    _namespace.impl(_name, _run, "CPU")
    torch.library.register_fake(f"senet_native::{_name}", _shape, lib=_namespace)
_ops = torch.ops.senet_native
