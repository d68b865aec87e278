"""The passes as Triton kernels: each reads and writes each byte of a map once.

The contract is in :mod:`senet.ops.passes`. A map is rows of N positions, one row per image b
and channel c, in one of two layouts:

=============  ==============================  ==========================  ====================
layout         offset of element (b, c, n)     adjacent in memory are      R_TILE rows are
=============  ==============================  ==========================  ====================
contiguous     (b C + c) N + n                 positions of a row          any, of any images
channels-last  (b N + n) C + c                 channels of a position      channels of one image
=============  ==============================  ==========================  ====================

A program processes R_TILE rows and all their positions, or one of several splits of these, N_TILE
at a time. It loads the arrays of one number per row (A, D, E, K, p …) once. It accumulates a sum in
every element of the tile until the end, so that few numbers are added to each. If there are
too few rows to fill the chip, their positions are split; then every split writes its own sums, and
one more small kernel adds these. There are no atomic additions and no tuning by timing: on one
device the same call gives the same bits in every run.

Maps may be of any floating type. All arithmetic is in the type of the ``[B, C]`` arrays, float32
(float64 for float64 maps), and rounded once, to nearest. No launch waits for the GPU, so after a
first call has compiled the kernels, they may be captured in a CUDA graph.

Tested so far: every kernel in Triton's interpreter on a CPU, against float64, and compilation for
Hopper GPUs. No kernel has run on a GPU; the constants below are reasoned, not measured.

All kernels are in one file, since they share the launch and the helpers above them, which Triton
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
"""Elements of a tile: 16 of each map for each of the 128 threads of a program.

A quarter of that if runs have an odd length and are therefore loaded element by element, since the
addresses would fill the registers.
"""

RUN = 128
"""Maximum elements of a tile that are adjacent in memory: 256 bytes in half precision."""

PROGRAMS = 16
"""Desired programs per multiprocessor: twice as many as fit on it at once."""

SPLITS = 256
"""The maximum number of splits, whose sums are written and read again."""

_TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def takes(x: Tensor) -> bool:
    """Whether this backend can run on ``x``: floats on a GPU (on the CPU where interpreted)."""
    return x.dtype in _TYPES and x.device.type == ("cpu" if INTERPRETED else "cuda")


@triton_op("senet::moments", mutates_args=())
def moments(x: Tensor, pivot: Tensor | None) -> tuple[Tensor, Tensor]:
    if x.numel() == 0:
        return _no_sums(x), _no_sums(x)
    launch = _launch(x)
    sums, squares = _empty_sums(x, launch), _empty_sums(x, launch)
    with torch.cuda.device_of(x):
        wrap_triton(_moments)[launch.grid](x, _contiguous(pivot), sums, squares, **launch.sizes)
        return tuple(_add_splits(sums, squares))  # type: ignore[return-value]


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
    launch = _launch(x)
    A, A_stride = _by_image(A)
    D, D_stride = _by_image(D)
    with torch.cuda.device_of(x):
        wrap_triton(_affine)[launch.grid](
            x, _contiguous(pivot), A, D, shortcut, y, A_stride, D_stride, RELU=relu, **launch.sizes
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
    launch = _launch(x)
    S1, S2 = _empty_sums(x, launch), _empty_sums(x, launch)
    with torch.cuda.device_of(x):
        wrap_triton(_grad_scale)[launch.grid](
            dy, y, x, _contiguous(pivot), g, S1, S2, **launch.sizes
        )
        return [*written, *_add_splits(S1, S2)]


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
    launch = _launch(g)
    A, A_stride = _by_image(A)
    E, E_stride = (None, 0) if E is None else _by_image(E)
    pivot, K = _contiguous(pivot), _contiguous(K)
    with torch.cuda.device_of(g):
        wrap_triton(_grad_affine)[launch.grid](
            g, x, pivot, A, E, K, dx, A_stride, E_stride, **launch.sizes
        )
    return dx


@triton_op("senet::pooled", mutates_args=())
def pooled(x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str) -> Tensor:
    if x.numel() == 0:
        return _no_sums(x)
    launch = _launch(x)
    sums = _empty_sums(x, launch)
    with torch.cuda.device_of(x):
        wrap_triton(_pooled)[launch.grid](
            x,
            _contiguous(pivot),
            _contiguous(a),
            _contiguous(b),
            sums,
            ACTIVATION=activation,
            **launch.sizes,
        )
        return _add_splits(sums)[0]


@triton_op("senet::activate", mutates_args=())
def activate(
    x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, S: Tensor | None, activation: str
) -> Tensor:
    y = torch.empty_like(x)
    if x.numel() == 0:
        return y
    launch = _launch(x)
    S, S_stride = (None, 0) if S is None else _by_image(S)
    with torch.cuda.device_of(x):
        wrap_triton(_activate)[launch.grid](
            x, _contiguous(pivot), _contiguous(a), _contiguous(b), S, y, S_stride,
            ACTIVATION=activation, **launch.sizes,
        )  # fmt: skip
    return y


@triton_op("senet::grad_pooled", mutates_args=())
def grad_pooled(
    dy: Tensor, x: Tensor, pivot: Tensor | None, a: Tensor, b: Tensor, activation: str, se: bool
) -> list[Tensor]:
    number = 5 if se else 2
    if x.numel() == 0:
        return [_no_sums(x) for _ in range(number)]
    launch = _launch(x)
    sums = [_empty_sums(x, launch) for _ in range(number)]
    with torch.cuda.device_of(x):
        wrap_triton(_grad_pooled)[launch.grid](
            dy, x, _contiguous(pivot), _contiguous(a), _contiguous(b),
            *sums, *[None] * (5 - number),
            ACTIVATION=activation, **launch.sizes,
        )  # fmt: skip
        return _add_splits(*sums)


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
    launch = _launch(dy)
    A, A_stride = _by_image(A)
    E, E_stride = (None, 0) if E is None else _by_image(E)
    with torch.cuda.device_of(dy):
        wrap_triton(_grad_activate)[launch.grid](
            dy, x, _contiguous(pivot), _contiguous(a), _contiguous(b),
            A, E, _contiguous(K), _contiguous(L), dx,
            A_stride, E_stride, ACTIVATION=activation, **launch.sizes,
        )  # fmt: skip
    return dx


# ---- The kernels. Arguments of None are omitted when a kernel is compiled; sizes are not
# specialised, so that another batch size compiles nothing.

_kernel = triton.jit(
    do_not_specialize=[
        "B",
        "C",
        "N",
        "tiles",
        "splits",
        "A_stride",
        "D_stride",
        "E_stride",
        "S_stride",
    ]
)


@_kernel
def _moments(x, pivot, sums, squares, B, C, N, tiles, splits,
             CHANNELS_LAST: tl.constexpr, MULTIPLE: tl.constexpr,
             R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Compute Σₙ (x − p) and Σₙ (x − p)²."""
    acc: tl.constexpr = sums.dtype.element_ty
    C, N, image, block, split, start, stop, b, c, row_mask = _program(
        B, C, N, tiles, splits, CHANNELS_LAST, MULTIPLE, R_TILE, N_TILE
    )
    p = _pivot(pivot, c, row_mask)
    s1 = tl.zeros([R_TILE, N_TILE], acc)
    s2 = tl.zeros([R_TILE, N_TILE], acc)
    for n in range(start, stop, N_TILE):
        offsets, mask = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        d = tl.load(x + offsets, mask, other=0).to(acc) - p
        d = tl.where(mask, d, 0.0)
        s1 += d
        s2 += d * d
    here = (split * B + b) * C + c
    tl.store(sums + here, tl.sum(s1, 1), row_mask)
    tl.store(squares + here, tl.sum(s2, 1), row_mask)


@_kernel
def _affine(x, pivot, A, D, shortcut, y, A_stride, D_stride, B, C, N, tiles, splits,
            RELU: tl.constexpr, CHANNELS_LAST: tl.constexpr, MULTIPLE: tl.constexpr,
            R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Compute y = A (x − p) + D + shortcut, then ReLU."""
    acc: tl.constexpr = A.dtype.element_ty
    C, N, image, block, _, start, stop, b, c, row_mask = _program(
        B, C, N, tiles, splits, CHANNELS_LAST, MULTIPLE, R_TILE, N_TILE
    )
    p = _pivot(pivot, c, row_mask)
    a = _load_rows(A + b * C * A_stride + c, row_mask)
    d = _load_rows(D + b * C * D_stride + c, row_mask)
    for n in range(start, stop, N_TILE):
        offsets, mask = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        out = a * (tl.load(x + offsets, mask, other=0).to(acc) - p) + d
        if shortcut is not None:
            out += tl.load(shortcut + offsets, mask, other=0).to(acc)
        if RELU:
            out = tl.where(out < 0, 0.0, out)  # so that NaN stays NaN
        tl.store(y + offsets, out.to(y.dtype.element_ty), mask)


@_kernel
def _grad_scale(dy, y, x, pivot, g, S1, S2, B, C, N, tiles, splits,
                CHANNELS_LAST: tl.constexpr, MULTIPLE: tl.constexpr,
                R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Compute g = 0 where y <= 0, else dy; S1 = Σₙ g and S2 = Σₙ g (x − p)."""
    acc: tl.constexpr = S1.dtype.element_ty
    C, N, image, block, split, start, stop, b, c, row_mask = _program(
        B, C, N, tiles, splits, CHANNELS_LAST, MULTIPLE, R_TILE, N_TILE
    )
    p = _pivot(pivot, c, row_mask)
    s1 = tl.zeros([R_TILE, N_TILE], acc)
    s2 = tl.zeros([R_TILE, N_TILE], acc)
    for n in range(start, stop, N_TILE):
        offsets, mask = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        grad = tl.load(dy + offsets, mask, other=0)
        if y is not None:
            grad = tl.where(tl.load(y + offsets, mask, other=0) <= 0, 0.0, grad)
            tl.store(g + offsets, grad, mask)
        s1 += grad.to(acc)
        s2 += grad.to(acc) * (tl.load(x + offsets, mask, other=0).to(acc) - p)
    here = (split * B + b) * C + c
    tl.store(S1 + here, tl.sum(s1, 1), row_mask)
    tl.store(S2 + here, tl.sum(s2, 1), row_mask)


@_kernel
def _grad_affine(g, x, pivot, A, E, K, dx, A_stride, E_stride, B, C, N, tiles, splits,
                 CHANNELS_LAST: tl.constexpr, MULTIPLE: tl.constexpr,
                 R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Compute dx = A g + E − K (x − p)."""
    acc: tl.constexpr = A.dtype.element_ty
    C, N, image, block, _, start, stop, b, c, row_mask = _program(
        B, C, N, tiles, splits, CHANNELS_LAST, MULTIPLE, R_TILE, N_TILE
    )
    a = _load_rows(A + b * C * A_stride + c, row_mask)
    if E is not None:
        e = _load_rows(E + b * C * E_stride + c, row_mask)
    if K is not None:
        k = _load_rows(K + c, row_mask)
        p = _pivot(pivot, c, row_mask)
    for n in range(start, stop, N_TILE):
        offsets, mask = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        out = a * tl.load(g + offsets, mask, other=0).to(acc)
        if E is not None:
            out += e
        if K is not None:
            out -= k * (tl.load(x + offsets, mask, other=0).to(acc) - p)
        tl.store(dx + offsets, out.to(dx.dtype.element_ty), mask)


@_kernel
def _pooled(x, pivot, a, b, sums, B, C, N, tiles, splits,
            ACTIVATION: tl.constexpr, CHANNELS_LAST: tl.constexpr, MULTIPLE: tl.constexpr,
            R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Compute Σₙ f(u)."""
    acc: tl.constexpr = sums.dtype.element_ty
    C, N, image, block, split, start, stop, row, c, row_mask = _program(
        B, C, N, tiles, splits, CHANNELS_LAST, MULTIPLE, R_TILE, N_TILE
    )
    p = _pivot(pivot, c, row_mask)
    weight = _load_rows(a + c, row_mask)
    bias = _load_rows(b + c, row_mask)
    total = tl.zeros([R_TILE, N_TILE], acc)
    for n in range(start, stop, N_TILE):
        offsets, mask = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        u = weight * (tl.load(x + offsets, mask, other=0).to(acc) - p) + bias
        total += tl.where(mask, _forward(u, ACTIVATION), 0.0)
    tl.store(sums + (split * B + row) * C + c, tl.sum(total, 1), row_mask)


@_kernel
def _activate(x, pivot, a, b, S, y, S_stride, B, C, N, tiles, splits,
              ACTIVATION: tl.constexpr, CHANNELS_LAST: tl.constexpr, MULTIPLE: tl.constexpr,
              R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Compute y = S f(u)."""
    acc: tl.constexpr = a.dtype.element_ty
    C, N, image, block, _, start, stop, row, c, row_mask = _program(
        B, C, N, tiles, splits, CHANNELS_LAST, MULTIPLE, R_TILE, N_TILE
    )
    p = _pivot(pivot, c, row_mask)
    weight = _load_rows(a + c, row_mask)
    bias = _load_rows(b + c, row_mask)
    if S is not None:
        s = _load_rows(S + row * C * S_stride + c, row_mask)
    for n in range(start, stop, N_TILE):
        offsets, mask = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        u = weight * (tl.load(x + offsets, mask, other=0).to(acc) - p) + bias
        out = _forward(u, ACTIVATION)
        if S is not None:
            out *= s
        tl.store(y + offsets, out.to(y.dtype.element_ty), mask)


@_kernel
def _grad_pooled(dy, x, pivot, a, b, S1, S2, ds, C1, C2, B, C, N, tiles, splits,
                 ACTIVATION: tl.constexpr, CHANNELS_LAST: tl.constexpr, MULTIPLE: tl.constexpr,
                 R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Compute S1 and S2, and for SE also Σₙ dy f(u), C1 = Σₙ f'(u) and C2 = Σₙ f'(u) (x − p)."""
    acc: tl.constexpr = S1.dtype.element_ty
    C, N, image, block, split, start, stop, row, c, row_mask = _program(
        B, C, N, tiles, splits, CHANNELS_LAST, MULTIPLE, R_TILE, N_TILE
    )
    p = _pivot(pivot, c, row_mask)
    weight = _load_rows(a + c, row_mask)
    bias = _load_rows(b + c, row_mask)
    s1 = tl.zeros([R_TILE, N_TILE], acc)
    s2 = tl.zeros([R_TILE, N_TILE], acc)
    if ds is not None:
        s3 = tl.zeros([R_TILE, N_TILE], acc)
        c1 = tl.zeros([R_TILE, N_TILE], acc)
        c2 = tl.zeros([R_TILE, N_TILE], acc)
    for n in range(start, stop, N_TILE):
        offsets, mask = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        d = tl.load(x + offsets, mask, other=0).to(acc) - p
        grad = tl.load(dy + offsets, mask, other=0).to(acc)
        u = weight * d + bias
        g = _backward(grad, u, ACTIVATION)
        s1 += g
        s2 += g * d
        if ds is not None:
            s3 += grad * _forward(u, ACTIVATION)
            f = tl.where(mask, _backward(1.0, u, ACTIVATION), 0.0)
            c1 += f
            c2 += f * d
    here = (split * B + row) * C + c
    tl.store(S1 + here, tl.sum(s1, 1), row_mask)
    tl.store(S2 + here, tl.sum(s2, 1), row_mask)
    if ds is not None:
        tl.store(ds + here, tl.sum(s3, 1), row_mask)
        tl.store(C1 + here, tl.sum(c1, 1), row_mask)
        tl.store(C2 + here, tl.sum(c2, 1), row_mask)


@_kernel
def _grad_activate(dy, x, pivot, a, b, A, E, K, L, dx, A_stride, E_stride, B, C, N, tiles, splits,
                   ACTIVATION: tl.constexpr, CHANNELS_LAST: tl.constexpr, MULTIPLE: tl.constexpr,
                   R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Compute dx = f'(u) (A dy + E) − L − K (x − p)."""
    acc: tl.constexpr = a.dtype.element_ty
    C, N, image, block, _, start, stop, row, c, row_mask = _program(
        B, C, N, tiles, splits, CHANNELS_LAST, MULTIPLE, R_TILE, N_TILE
    )
    p = _pivot(pivot, c, row_mask)
    weight = _load_rows(a + c, row_mask)
    bias = _load_rows(b + c, row_mask)
    scale = _load_rows(A + row * C * A_stride + c, row_mask)
    if E is not None:
        e = _load_rows(E + row * C * E_stride + c, row_mask)
    if K is not None:
        k = _load_rows(K + c, row_mask)
    if L is not None:
        mean = _load_rows(L + c, row_mask)
    for n in range(start, stop, N_TILE):
        offsets, mask = _tile(image, block, n, B, C, N, CHANNELS_LAST, R_TILE, N_TILE)
        d = tl.load(x + offsets, mask, other=0).to(acc) - p
        g = scale * tl.load(dy + offsets, mask, other=0).to(acc)
        if E is not None:
            g += e
        out = _backward(g, weight * d + bias, ACTIVATION)
        if L is not None:
            out -= mean
        if K is not None:
            out -= k * d
        tl.store(dx + offsets, out.to(dx.dtype.element_ty), mask)


@triton.jit
def _forward(u, ACTIVATION: tl.constexpr):
    """Return f(u)."""
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
def _backward(dv, u, ACTIVATION: tl.constexpr):
    """Return f'(u) dv; 0 where f is flat. As in PyTorch at the corners and for NaN."""
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
def _program(B, C, N, tiles, splits, CHANNELS_LAST: tl.constexpr, MULTIPLE: tl.constexpr,
             R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Return what every kernel needs first: its sizes, block, split, positions and rows.

    Returns:
        C and N, unchanged, written such that the compiler sees that MULTIPLE divides the run in
            memory, and can load 16 bytes at a time.
        image, block, split: the indices of this program's block of rows and split of positions.
        start, stop: the positions of the split.
        b, c, row_mask: the rows of the block, and the mask of those that exist.
    """
    if CHANNELS_LAST:
        C = C // MULTIPLE * MULTIPLE
    else:
        N = N // MULTIPLE * MULTIPLE
    program = tl.program_id(0)
    blocks = tl.cdiv(C if CHANNELS_LAST else B * C, R_TILE)
    block = program % blocks
    split = program // blocks % splits
    image = program // blocks // splits
    start = split * tiles * N_TILE
    stop = tl.minimum(start + tiles * N_TILE, N)
    row = block * R_TILE + tl.arange(0, R_TILE)
    if CHANNELS_LAST:
        b = image
        c = row
        row_mask = c < C
    else:
        b = row // C
        c = row % C
        row_mask = b < B
    return C, N, image, block, split, start, stop, b, c, row_mask


@triton.jit
def _tile(image, block, n, B, C, N, CHANNELS_LAST: tl.constexpr,
          R_TILE: tl.constexpr, N_TILE: tl.constexpr):  # fmt: skip
    """Return the offsets of the tile that starts at position n, and the mask of its elements.

    The offset of its first element has 64 bits, those of the others from there 32.
    """
    row = block * R_TILE
    rows = tl.arange(0, R_TILE)[:, None]
    positions = tl.arange(0, N_TILE)[None, :]
    if CHANNELS_LAST:
        offsets = ((image.to(tl.int64) * N + n) * C + row) + (positions * C + rows)
        mask = (row + rows < C) & (n + positions < N)
    else:
        offsets = (row.to(tl.int64) * N + n) + (rows * N + positions)
        mask = (row + rows < B * C) & (n + positions < N)
    return offsets, mask


@triton.jit
def _pivot(pivot, c, row_mask):
    """Return p, one number per row; 0 without a pivot."""
    return 0.0 if pivot is None else _load_rows(pivot + c, row_mask)


@triton.jit
def _load_rows(numbers, row_mask):
    """Load one number per row, to broadcast with a tile."""
    return tl.load(numbers, row_mask, other=0)[:, None]


@triton.jit(do_not_specialize=["rows", "splits"])
def _sum_splits(first, second, first_sums, second_sums, rows, splits,
                   S_TILE: tl.constexpr, R_TILE: tl.constexpr):  # fmt: skip
    """Add one or two arrays ``[splits, rows]`` over their splits."""
    row = tl.program_id(0) * R_TILE + tl.arange(0, R_TILE)
    s1 = tl.zeros([S_TILE, R_TILE], first.dtype.element_ty)
    s2 = tl.zeros([S_TILE, R_TILE], first.dtype.element_ty)
    for start in range(0, splits, S_TILE):
        s = start + tl.arange(0, S_TILE)
        offsets = (s.to(tl.int64) * rows)[:, None] + row[None, :]
        mask = (s < splits)[:, None] & (row < rows)[None, :]
        s1 += tl.load(first + offsets, mask, other=0)
        if second is not None:
            s2 += tl.load(second + offsets, mask, other=0)
    tl.store(first_sums + row, tl.sum(s1, 0), row < rows)
    if second is not None:
        tl.store(second_sums + row, tl.sum(s2, 0), row < rows)


# ---- Around the kernels: the launch over a map, and the arrays [B, C].


class _Launch(NamedTuple):
    """The grid of a launch over a map, and the sizes that the kernel gets."""

    grid: tuple[int]
    sizes: dict[str, Any]


def _launch(x: Tensor) -> _Launch:
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
    wanted = max(1, min(PROGRAMS * _multiprocessors(x.device) // blocks, SPLITS))
    tiles = _ceil_div(_ceil_div(N, N_TILE), wanted)
    splits = _ceil_div(N, tiles * N_TILE)
    return _Launch(
        (blocks * splits,),
        {
            "B": B,
            "C": C,
            "N": N,
            "tiles": tiles,
            "splits": splits,
            "CHANNELS_LAST": channels_last,
            "MULTIPLE": unit,
            "R_TILE": R_TILE,
            "N_TILE": N_TILE,
        },
    )


def _ceil_div(n: int, d: int) -> int:
    return (n + d - 1) // d


def _power_of_two(n: int, most: int) -> int:
    """Return the least power of two that is n or more, but at most ``most``."""
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
    """Return ``[B, C]`` and 1, or ``[C]`` and 0 if that was expanded to all images."""
    if v.stride(0) == 0:
        return v.select(0, 0).contiguous(), 0
    return v.contiguous(), 1


def _contiguous(v: Tensor | None) -> Tensor | None:
    return None if v is None else v.contiguous()


def _empty_sums(x: Tensor, launch: _Launch) -> Tensor:
    """Return an array for one sum per row, or per row and split."""
    B, C, splits = (launch.sizes[name] for name in ("B", "C", "splits"))
    return x.new_empty((B, C) if splits == 1 else (splits, B, C), dtype=accumulator(x.dtype))


def _no_sums(x: Tensor) -> Tensor:
    return x.new_zeros(x.shape[:2], dtype=accumulator(x.dtype))


def _add_splits(*parts: Tensor) -> list[Tensor]:
    """Return the sums of arrays ``[splits, B, C]`` over the splits, ``[B, C]``."""
    if parts[0].dim() == 2:
        return list(parts)
    splits, B, C = parts[0].shape
    sums = [part.new_empty(B, C) for part in parts]
    R_TILE = 32
    for i in range(0, len(parts), 2):  # two at a time: mostly there are two
        first, second = parts[i], parts[i + 1] if i + 1 < len(parts) else None
        wrap_triton(_sum_splits)[(_ceil_div(B * C, R_TILE),)](
            first, second, sums[i], None if second is None else sums[i + 1],
            B * C, splits, S_TILE=32, R_TILE=R_TILE,
        )  # fmt: skip
    return sums
