"""The passes as Triton kernels: each reads and writes each byte of a map once.

The contract is in :mod:`senet.ops.passes`. A map is rows of N positions, one row an image b and
channel c, in one of two layouts:

=============  ==============================  ==========================  ====================
layout         element (b, c, n) stands at     side by side in memory are  R_TILE rows are
=============  ==============================  ==========================  ====================
contiguous     (b C + c) N + n                 positions of a row          any, of any images
channels-last  (b N + n) C + c                 channels of a position      channels of one image
=============  ==============================  ==========================  ====================

A program owns R_TILE rows and walks over their positions, or over one of several stretches of them,
N_TILE at a time. What is one number a row (A, D, E, K, p …) it reads once. A sum it keeps apart for
each place of the tile until the end, so that few numbers are ever added to one. Where rows alone
are too few to fill the chip they are split into stretches; then every stretch leaves its own sums,
and one more small kernel adds these. Nothing is added atomically and nothing is tuned by timing:
on one device the same call gives the same bits, run after run.

Maps may be of any floating type. All arithmetic is in the type of the ``[B, C]`` arrays, float32
(float64 for float64 maps), and rounded once, to nearest. No launch waits for the GPU, so once a
first call has compiled the kernels they may be captured in a CUDA graph.

What has been run: every kernel in Triton's interpreter on a CPU, against float64. Compiled for
Hopper GPUs, but never run on a GPU; the constants below are reasoned, not measured.

All kernels are in one file, since they share the walk and the helpers above them, which Triton
inlines.
"""

# pyright: reportGeneralTypeIssues=false, reportMissingImports=false
# (a kernel's helper is typed as callable by kernels only; and Triton is not everywhere)

import functools
import math
import os
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.library import triton_op
from triton import language as tl

from senet.ops.mask import as_map
from senet.ops.precision import accumulator

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton asks the same, at each @jit
if INTERPRETED:

    def wrap_triton(kernel: Any, /) -> Any:
        """An interpreted kernel is called as it is: PyTorch cannot trace into it."""
        return kernel
else:
    from torch.library import wrap_triton

TILE = 2048
"""Places of a tile: 16 elements of each map for each of the 128 threads of a program.

A quarter of that where runs are of odd length and so are read element by element: the addresses
would fill the registers.
"""

RUN = 128
"""Of these, at most so many side by side in memory: 256 bytes in half precision."""

PROGRAMS = 16
"""Programs wanted for each multiprocessor: all that fit on it at once, and as many again."""

STRETCHES = 256
"""At most so many stretches: their sums are written, and read again."""

_TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def takes(x: Tensor) -> bool:
    """Whether this backend can run on ``x``: floats on a GPU (on the CPU where interpreted)."""
    return x.dtype in _TYPES and x.device.type == ("cpu" if INTERPRETED else "cuda")


@triton_op("senet::moments", mutates_args=())
def moments(x: Tensor, pivot: Tensor | None) -> tuple[Tensor, Tensor]:
    if x.numel() == 0:
        return _no_sums(x), _no_sums(x)
    walk = _walk(x)
    sums, squares = _room(x, walk), _room(x, walk)
    with torch.cuda.device_of(x):
        wrap_triton(_moments)[walk.grid](x, _dense(pivot), sums, squares, **walk.sizes)
        return tuple(_add_stretches(sums, squares))  # type: ignore[return-value]


def affine(
    x: Tensor,
    pivot: Tensor | None,
    A: Tensor,
    D: Tensor,
    shortcut: Tensor | None,
    relu: bool,
    keep: bool = False,
) -> Tensor | tuple[Tensor, Tensor | None]:
    y = _affine_op(x, pivot, A, D, shortcut, relu)
    return (y, y if relu else None) if keep else y


@triton_op("senet::affine", mutates_args=())
def _affine_op(
    x: Tensor, pivot: Tensor | None, A: Tensor, D: Tensor, shortcut: Tensor | None, relu: bool
) -> Tensor:
    y = torch.empty_like(x)
    if x.numel() == 0:
        return y
    walk = _walk(x)
    A, A_step = _by_image(A)
    D, D_step = _by_image(D)
    with torch.cuda.device_of(x):
        wrap_triton(_affine)[walk.grid](
            x, _dense(pivot), A, D, shortcut, y, A_step, D_step, RELU=relu, **walk.sizes
        )
    return y


def grad_scale(
    dy: Tensor, mask: Tensor | None, x: Tensor, pivot: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    y = None if mask is None else as_map(mask, x)
    *g, S1, S2 = _grad_scale_op(dy, y, x, pivot)
    return g[0] if g else dy, S1, S2


@triton_op("senet::grad_scale", mutates_args=())
def _grad_scale_op(dy: Tensor, y: Tensor | None, x: Tensor, pivot: Tensor | None) -> list[Tensor]:
    """g, S1 and S2; without ``y`` the sums alone, for an operator must not return its argument."""
    g = None if y is None else torch.empty_like(dy)
    written = [] if g is None else [g]
    if x.numel() == 0:
        return [*written, _no_sums(x), _no_sums(x)]
    walk = _walk(x)
    S1, S2 = _room(x, walk), _room(x, walk)
    with torch.cuda.device_of(x):
        wrap_triton(_grad_scale)[walk.grid](dy, y, x, _dense(pivot), g, S1, S2, **walk.sizes)
        return [*written, *_add_stretches(S1, S2)]


@triton_op("senet::grad_affine", mutates_args=())
def grad_affine(
    g: Tensor,
    x: Tensor | None,
    pivot: Tensor | None,
    A: Tensor,
    E: Tensor | None,
    K: Tensor | None,
) -> Tensor:
    dx = torch.empty_like(g)
    if g.numel() == 0:
        return dx
    walk = _walk(g)
    A, A_step = _by_image(A)
    E, E_step = (None, 0) if E is None else _by_image(E)
    pivot, K = _dense(pivot), _dense(K)
    with torch.cuda.device_of(g):
        wrap_triton(_grad_affine)[walk.grid](g, x, pivot, A, E, K, dx, A_step, E_step, **walk.sizes)
    return dx


@triton_op("senet::pooled", mutates_args=())
def pooled(x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str) -> Tensor:
    if x.numel() == 0:
        return _no_sums(x)
    walk = _walk(x)
    sums = _room(x, walk)
    with torch.cuda.device_of(x):
        wrap_triton(_pooled)[walk.grid](
            x, _dense(pivot), _dense(a), _dense(b), sums, ACTIVATION=activation, **walk.sizes
        )
        return _add_stretches(sums)[0]


@triton_op("senet::activate", mutates_args=())
def activate(
    x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, S: Tensor | None, activation: str
) -> Tensor:
    y = torch.empty_like(x)
    if x.numel() == 0:
        return y
    walk = _walk(x)
    S, S_step = (None, 0) if S is None else _by_image(S)
    with torch.cuda.device_of(x):
        wrap_triton(_activate)[walk.grid](
            x, _dense(pivot), _dense(a), _dense(b), S, y, S_step,
            ACTIVATION=activation, **walk.sizes,
        )  # fmt: skip
    return y


@triton_op("senet::grad_pooled", mutates_args=())
def grad_pooled(
    dy: Tensor, x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str, se: bool
) -> list[Tensor]:
    number = 5 if se else 2
    if x.numel() == 0:
        return [_no_sums(x) for _ in range(number)]
    walk = _walk(x)
    sums = [_room(x, walk) for _ in range(number)]
    with torch.cuda.device_of(x):
        wrap_triton(_grad_pooled)[walk.grid](
            dy, x, _dense(pivot), _dense(a), _dense(b), *sums, *[None] * (5 - number),
            ACTIVATION=activation, **walk.sizes,
        )  # fmt: skip
        return _add_stretches(*sums)


@triton_op("senet::grad_activate", mutates_args=())
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
    dx = torch.empty_like(dy)
    if dy.numel() == 0:
        return dx
    walk = _walk(dy)
    A, A_step = _by_image(A)
    E, E_step = (None, 0) if E is None else _by_image(E)
    with torch.cuda.device_of(dy):
        wrap_triton(_grad_activate)[walk.grid](
            dy, x, _dense(pivot), _dense(a), _dense(b), A, E, _dense(K), _dense(L), dx,
            A_step, E_step, ACTIVATION=activation, **walk.sizes,
        )  # fmt: skip
    return dx


# ---- The kernels. What is None is left out when a kernel is compiled; sizes are not looked at, so
# that another batch size compiles nothing.

_kernel = triton.jit(
    do_not_specialize=["B", "C", "N", "tiles", "stretches", "A_step", "D_step", "E_step", "S_step"]
)


@_kernel
def _moments(x, pivot, sums, squares, B, C, N, tiles, stretches,
             CHANNELS_LAST: tl.constexpr, UNIT: tl.constexpr,
             R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Σₙ (x − p) and Σₙ (x − p)²."""
    wide: tl.constexpr = sums.dtype.element_ty
    C, N = _in_units(C, N, CHANNELS_LAST, UNIT)
    image, block, stretch, start, stop = _own(
        B, C, N, tiles, stretches, CHANNELS_LAST, R_TILE, N_TILE
    )
    b, c, owned = _rows_of(image, block, B, C, CHANNELS_LAST, R_TILE)
    p = _pivot(pivot, c, owned)
    s1 = tl.zeros([R_TILE, N_TILE], wide)
    s2 = tl.zeros([R_TILE, N_TILE], wide)
    for n in range(start, stop, N_TILE):
        at, inside = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        d = tl.load(x + at, inside, other=0).to(wide) - p
        d = tl.where(inside, d, 0.0)
        s1 += d
        s2 += d * d
    here = (stretch * B + b) * C + c
    tl.store(sums + here, tl.sum(s1, 1), owned)
    tl.store(squares + here, tl.sum(s2, 1), owned)


@_kernel
def _affine(x, pivot, A, D, shortcut, y, A_step, D_step, B, C, N, tiles, stretches,
            RELU: tl.constexpr, CHANNELS_LAST: tl.constexpr, UNIT: tl.constexpr,
            R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """y = A (x − p) + D + shortcut, then ReLU."""
    wide: tl.constexpr = A.dtype.element_ty
    C, N = _in_units(C, N, CHANNELS_LAST, UNIT)
    image, block, _, start, stop = _own(B, C, N, tiles, stretches, CHANNELS_LAST, R_TILE, N_TILE)
    b, c, owned = _rows_of(image, block, B, C, CHANNELS_LAST, R_TILE)
    p = _pivot(pivot, c, owned)
    a = _numbers(A + b * C * A_step + c, owned)
    d = _numbers(D + b * C * D_step + c, owned)
    for n in range(start, stop, N_TILE):
        at, inside = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        out = a * (tl.load(x + at, inside, other=0).to(wide) - p) + d
        if shortcut is not None:
            out += tl.load(shortcut + at, inside, other=0).to(wide)
        if RELU:
            out = tl.where(out < 0, 0.0, out)  # so that NaN stays NaN
        tl.store(y + at, out.to(y.dtype.element_ty), inside)


@_kernel
def _grad_scale(dy, y, x, pivot, g, S1, S2, B, C, N, tiles, stretches,
                CHANNELS_LAST: tl.constexpr, UNIT: tl.constexpr,
                R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """g = 0 where y <= 0, else dy; S1 = Σₙ g and S2 = Σₙ g (x − p)."""
    wide: tl.constexpr = S1.dtype.element_ty
    C, N = _in_units(C, N, CHANNELS_LAST, UNIT)
    image, block, stretch, start, stop = _own(
        B, C, N, tiles, stretches, CHANNELS_LAST, R_TILE, N_TILE
    )
    b, c, owned = _rows_of(image, block, B, C, CHANNELS_LAST, R_TILE)
    p = _pivot(pivot, c, owned)
    s1 = tl.zeros([R_TILE, N_TILE], wide)
    s2 = tl.zeros([R_TILE, N_TILE], wide)
    for n in range(start, stop, N_TILE):
        at, inside = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        sent = tl.load(dy + at, inside, other=0)
        if y is not None:
            sent = tl.where(tl.load(y + at, inside, other=0) <= 0, 0.0, sent)
            tl.store(g + at, sent, inside)
        s1 += sent.to(wide)
        s2 += sent.to(wide) * (tl.load(x + at, inside, other=0).to(wide) - p)
    here = (stretch * B + b) * C + c
    tl.store(S1 + here, tl.sum(s1, 1), owned)
    tl.store(S2 + here, tl.sum(s2, 1), owned)


@_kernel
def _grad_affine(g, x, pivot, A, E, K, dx, A_step, E_step, B, C, N, tiles, stretches,
                 CHANNELS_LAST: tl.constexpr, UNIT: tl.constexpr,
                 R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """dx = A g + E − K (x − p)."""
    wide: tl.constexpr = A.dtype.element_ty
    C, N = _in_units(C, N, CHANNELS_LAST, UNIT)
    image, block, _, start, stop = _own(B, C, N, tiles, stretches, CHANNELS_LAST, R_TILE, N_TILE)
    b, c, owned = _rows_of(image, block, B, C, CHANNELS_LAST, R_TILE)
    a = _numbers(A + b * C * A_step + c, owned)
    if E is not None:
        e = _numbers(E + b * C * E_step + c, owned)
    if K is not None:
        k = _numbers(K + c, owned)
        p = _pivot(pivot, c, owned)
    for n in range(start, stop, N_TILE):
        at, inside = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        out = a * tl.load(g + at, inside, other=0).to(wide)
        if E is not None:
            out += e
        if K is not None:
            out -= k * (tl.load(x + at, inside, other=0).to(wide) - p)
        tl.store(dx + at, out.to(dx.dtype.element_ty), inside)


@_kernel
def _pooled(x, pivot, a, b, sums, B, C, N, tiles, stretches,
            ACTIVATION: tl.constexpr, CHANNELS_LAST: tl.constexpr, UNIT: tl.constexpr,
            R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Σₙ f(u)."""
    wide: tl.constexpr = sums.dtype.element_ty
    C, N = _in_units(C, N, CHANNELS_LAST, UNIT)
    image, block, stretch, start, stop = _own(
        B, C, N, tiles, stretches, CHANNELS_LAST, R_TILE, N_TILE
    )
    row, c, owned = _rows_of(image, block, B, C, CHANNELS_LAST, R_TILE)
    p = _pivot(pivot, c, owned)
    gain = _numbers(a + c, owned)
    level = _numbers(b + c, owned)
    total = tl.zeros([R_TILE, N_TILE], wide)
    for n in range(start, stop, N_TILE):
        at, inside = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        u = gain * (tl.load(x + at, inside, other=0).to(wide) - p) + level
        total += tl.where(inside, _activated(u, ACTIVATION), 0.0)
    tl.store(sums + (stretch * B + row) * C + c, tl.sum(total, 1), owned)


@_kernel
def _activate(x, pivot, a, b, S, y, S_step, B, C, N, tiles, stretches,
              ACTIVATION: tl.constexpr, CHANNELS_LAST: tl.constexpr, UNIT: tl.constexpr,
              R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """y = S f(u)."""
    wide: tl.constexpr = a.dtype.element_ty
    C, N = _in_units(C, N, CHANNELS_LAST, UNIT)
    image, block, _, start, stop = _own(B, C, N, tiles, stretches, CHANNELS_LAST, R_TILE, N_TILE)
    row, c, owned = _rows_of(image, block, B, C, CHANNELS_LAST, R_TILE)
    p = _pivot(pivot, c, owned)
    gain = _numbers(a + c, owned)
    level = _numbers(b + c, owned)
    if S is not None:
        s = _numbers(S + row * C * S_step + c, owned)
    for n in range(start, stop, N_TILE):
        at, inside = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        u = gain * (tl.load(x + at, inside, other=0).to(wide) - p) + level
        out = _activated(u, ACTIVATION)
        if S is not None:
            out *= s
        tl.store(y + at, out.to(y.dtype.element_ty), inside)


@_kernel
def _grad_pooled(dy, x, pivot, a, b, S1, S2, ds, C1, C2, B, C, N, tiles, stretches,
                 ACTIVATION: tl.constexpr, CHANNELS_LAST: tl.constexpr, UNIT: tl.constexpr,
                 R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """S1 = Σₙ g, S2 = Σₙ g (x − p); for SE Σₙ dy f(u), C1 = Σₙ f'(u) and C2 = Σₙ f'(u) (x − p)."""
    wide: tl.constexpr = S1.dtype.element_ty
    C, N = _in_units(C, N, CHANNELS_LAST, UNIT)
    image, block, stretch, start, stop = _own(
        B, C, N, tiles, stretches, CHANNELS_LAST, R_TILE, N_TILE
    )
    row, c, owned = _rows_of(image, block, B, C, CHANNELS_LAST, R_TILE)
    p = _pivot(pivot, c, owned)
    gain = _numbers(a + c, owned)
    level = _numbers(b + c, owned)
    s1 = tl.zeros([R_TILE, N_TILE], wide)
    s2 = tl.zeros([R_TILE, N_TILE], wide)
    if ds is not None:
        s3 = tl.zeros([R_TILE, N_TILE], wide)
        c1 = tl.zeros([R_TILE, N_TILE], wide)
        c2 = tl.zeros([R_TILE, N_TILE], wide)
    for n in range(start, stop, N_TILE):
        at, inside = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        d = tl.load(x + at, inside, other=0).to(wide) - p
        sent = tl.load(dy + at, inside, other=0).to(wide)
        u = gain * d + level
        g = _back_through(sent, u, ACTIVATION)
        s1 += g
        s2 += g * d
        if ds is not None:
            s3 += sent * _activated(u, ACTIVATION)
            f = tl.where(inside, _back_through(1.0, u, ACTIVATION), 0.0)
            c1 += f
            c2 += f * d
    here = (stretch * B + row) * C + c
    tl.store(S1 + here, tl.sum(s1, 1), owned)
    tl.store(S2 + here, tl.sum(s2, 1), owned)
    if ds is not None:
        tl.store(ds + here, tl.sum(s3, 1), owned)
        tl.store(C1 + here, tl.sum(c1, 1), owned)
        tl.store(C2 + here, tl.sum(c2, 1), owned)


@_kernel
def _grad_activate(dy, x, pivot, a, b, A, E, K, L, dx, A_step, E_step, B, C, N, tiles, stretches,
                   ACTIVATION: tl.constexpr, CHANNELS_LAST: tl.constexpr, UNIT: tl.constexpr,
                   R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """dx = f'(u) (A dy + E) − L − K (x − p)."""
    wide: tl.constexpr = a.dtype.element_ty
    C, N = _in_units(C, N, CHANNELS_LAST, UNIT)
    image, block, _, start, stop = _own(B, C, N, tiles, stretches, CHANNELS_LAST, R_TILE, N_TILE)
    row, c, owned = _rows_of(image, block, B, C, CHANNELS_LAST, R_TILE)
    p = _pivot(pivot, c, owned)
    gain = _numbers(a + c, owned)
    level = _numbers(b + c, owned)
    scale = _numbers(A + row * C * A_step + c, owned)
    if E is not None:
        e = _numbers(E + row * C * E_step + c, owned)
    if K is not None:
        k = _numbers(K + c, owned)
    if L is not None:
        mean = _numbers(L + c, owned)
    for n in range(start, stop, N_TILE):
        at, inside = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        d = tl.load(x + at, inside, other=0).to(wide) - p
        g = scale * tl.load(dy + at, inside, other=0).to(wide)
        if E is not None:
            g += e
        out = _back_through(g, gain * d + level, ACTIVATION)
        if L is not None:
            out -= mean
        if K is not None:
            out -= k * d
        tl.store(dx + at, out.to(dx.dtype.element_ty), inside)


@triton.jit
def _activated(u, ACTIVATION: tl.constexpr):
    """f(u)."""
    if ACTIVATION == "silu":
        v = u / (1 + tl.exp(-u))
    elif ACTIVATION == "hardswish":
        v = u * tl.where(u <= -3, 0.0, tl.where(u < 3, (u + 3) / 6, 1.0))
    elif ACTIVATION == "relu6":
        v = tl.where(u < 0, 0.0, tl.where(u > 6, 6.0, u))
    else:
        tl.static_assert(ACTIVATION == "relu")
        v = tl.where(u < 0, 0.0, u)
    return v


@triton.jit
def _back_through(dv, u, ACTIVATION: tl.constexpr):
    """f'(u) dv; where f is flat 0, whatever dv is. At the corners, and for NaN, as in PyTorch."""
    if ACTIVATION == "silu":
        s = 1 / (1 + tl.exp(-u))
        du = (s * (1 + u * (1 - s))) * dv
    elif ACTIVATION == "hardswish":
        du = tl.where(u <= -3, 0.0, tl.where(u >= 3, 1.0, u / 3 + 0.5) * dv)
    elif ACTIVATION == "relu6":
        du = tl.where((u > 0) & (u < 6), dv, 0.0)
    else:
        tl.static_assert(ACTIVATION == "relu")
        du = tl.where(u <= 0, 0.0, dv)
    return du


@triton.jit
def _in_units(C, N, CHANNELS_LAST: tl.constexpr, UNIT: tl.constexpr):
    """C and N as they are, so written that the compiler sees UNIT divide the run in memory.

    That is how it knows that it may read 16 bytes at a time.
    """
    if CHANNELS_LAST:
        C = C // UNIT * UNIT
    else:
        N = N // UNIT * UNIT
    return C, N


@triton.jit
def _own(B, C, N, tiles, stretches, CHANNELS_LAST: tl.constexpr,
         R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """What this program owns: a block of rows (of one image), and a stretch of their positions."""
    program = tl.program_id(0)
    blocks = tl.cdiv(C if CHANNELS_LAST else B * C, R_TILE)
    block = program % blocks
    stretch = program // blocks % stretches
    image = program // blocks // stretches
    start = stretch * tiles * N_TILE
    return image, block, stretch, start, tl.minimum(start + tiles * N_TILE, N)


@triton.jit
def _rows_of(image, block, B, C, CHANNELS_LAST: tl.constexpr, R_TILE: tl.constexpr):
    """The rows (b, c) of a block, and which of them there are."""
    row = block * R_TILE + tl.arange(0, R_TILE)
    if CHANNELS_LAST:
        b = image
        c = row
        owned = c < C
    else:
        b = row // C
        c = row % C
        owned = b < B
    return b, c, owned


@triton.jit
def _tile(image, block, n, B, C, N, CHANNELS_LAST: tl.constexpr,
          R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Where the tile from position n on stands in memory, and which of its elements there are.

    Its first element in 64 bits, the others counted from there in 32.
    """
    row = block * R_TILE
    rows = tl.arange(0, R_TILE)[:, None]
    positions = tl.arange(0, N_TILE)[None, :]
    if CHANNELS_LAST:
        at = ((image.to(tl.int64) * N + n) * C + row) + (positions * C + rows)
        inside = (row + rows < C) & (n + positions < N)
    else:
        at = (row.to(tl.int64) * N + n) + (rows * N + positions)
        inside = (row + rows < B * C) & (n + positions < N)
    return at, inside


@triton.jit
def _pivot(pivot, c, owned):
    """p, one number a row; 0 where no pivot was given."""
    return 0.0 if pivot is None else _numbers(pivot + c, owned)


@triton.jit
def _numbers(numbers, owned):
    """One number a row, laid against a tile."""
    return tl.load(numbers, owned, other=0)[:, None]


@triton.jit(do_not_specialize=["rows", "stretches"])
def _sum_stretches(first, second, first_sums, second_sums, rows, stretches,
                   S_TILE: tl.constexpr, R_TILE: tl.constexpr):  # fmt: skip
    """Adds one or two arrays ``[stretches, rows]`` over their stretches."""
    row = tl.program_id(0) * R_TILE + tl.arange(0, R_TILE)
    s1 = tl.zeros([S_TILE, R_TILE], first.dtype.element_ty)
    s2 = tl.zeros([S_TILE, R_TILE], first.dtype.element_ty)
    for start in range(0, stretches, S_TILE):
        s = start + tl.arange(0, S_TILE)
        at = (s.to(tl.int64) * rows)[:, None] + row[None, :]
        inside = (s < stretches)[:, None] & (row < rows)[None, :]
        s1 += tl.load(first + at, inside, other=0)
        if second is not None:
            s2 += tl.load(second + at, inside, other=0)
    tl.store(first_sums + row, tl.sum(s1, 0), row < rows)
    if second is not None:
        tl.store(second_sums + row, tl.sum(s2, 0), row < rows)


# ---- Around the kernels: how a map is walked, and the arrays [B, C].


class _Walk(NamedTuple):
    """How many programs walk over a map, and what each is told."""

    grid: tuple[int]
    sizes: dict[str, Any]


def _walk(x: Tensor) -> _Walk:
    B, C, N = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    channels_last = N == 1 or not x.is_contiguous()
    run, across = (C, N) if channels_last else (N, B * C)
    unit = next(u for u in (16, 8, 4, 2, 1) if run % u == 0)
    run_tile = _power_of_two(run, RUN)
    across_tile = _power_of_two(across, (TILE if unit >= 4 else TILE // 4) // run_tile)
    if channels_last:
        R_TILE, N_TILE = run_tile, across_tile
        blocks = B * _ceil_div(C, R_TILE)
    else:
        R_TILE, N_TILE = across_tile, run_tile
        blocks = _ceil_div(B * C, R_TILE)
    wanted = max(1, min(PROGRAMS * _multiprocessors(x.device) // blocks, STRETCHES))
    tiles = _ceil_div(_ceil_div(N, N_TILE), wanted)
    stretches = _ceil_div(N, tiles * N_TILE)
    return _Walk(
        (blocks * stretches,),
        {
            "B": B,
            "C": C,
            "N": N,
            "tiles": tiles,
            "stretches": stretches,
            "CHANNELS_LAST": channels_last,
            "UNIT": unit,
            "R_TILE": R_TILE,
            "N_TILE": N_TILE,
        },
    )


def _ceil_div(n: int, d: int) -> int:
    return (n + d - 1) // d


def _power_of_two(n: int, most: int) -> int:
    """The least power of two that is n or more, and at most ``most``."""
    power = 1
    while power < n and power < most:
        power *= 2
    return power


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    if device.type == "cpu":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def _by_image(v: Tensor) -> tuple[Tensor, int]:
    """``[B, C]``, and 1; or ``[C]``, and 0, where that was expanded to all images."""
    if v.stride(0) == 0:
        return v.select(0, 0).contiguous(), 0
    return v.contiguous(), 1


def _dense(v: Tensor | None) -> Tensor | None:
    return None if v is None else v.contiguous()


def _room(x: Tensor, walk: _Walk) -> Tensor:
    """Where a kernel leaves one sum a row, or one a row and stretch."""
    B, C, stretches = (walk.sizes[name] for name in ("B", "C", "stretches"))
    return x.new_empty((B, C) if stretches == 1 else (stretches, B, C), dtype=accumulator(x.dtype))


def _no_sums(x: Tensor) -> Tensor:
    return x.new_zeros(x.shape[:2], dtype=accumulator(x.dtype))


def _add_stretches(*parts: Tensor) -> list[Tensor]:
    """Arrays ``[stretches, B, C]``, each added up to ``[B, C]``."""
    if parts[0].dim() == 2:
        return list(parts)
    stretches, B, C = parts[0].shape
    sums = [part.new_empty(B, C) for part in parts]
    R_TILE = 32
    for i in range(0, len(parts), 2):  # two at a time: mostly there are two
        first, second = parts[i], parts[i + 1] if i + 1 < len(parts) else None
        wrap_triton(_sum_stretches)[(_ceil_div(B * C, R_TILE),)](
            first, second, sums[i], None if second is None else sums[i + 1],
            B * C, stretches, S_TILE=32, R_TILE=R_TILE,
        )  # fmt: skip
    return sums
