"""A run of every pass of the C library on arrays that border on inaccessible memory.

``python -m tests.ops.guarded``. Before the first byte of an array, or after its last one, is a
page that may be neither read nor written: the system stops a process that does. This holds for
arguments and results, including those that the passes allocate.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
from functools import partial
from itertools import product
from unittest import mock

import torch
from torch import Tensor

from senet.ops import native
from senet.ops.gate import Gate
from senet.ops.native import pointwise, tails
from senet.ops.norm import Norm
from tests.ops import test_pointwise
from tests.ops.test_native import ACTIVATED, LAYOUTS, NAMES, SHAPES, TYPES, WITH_WORDS, Maps

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

NOTHING = 0  # PROT_NONE


class Guard:
    """An allocator of arrays that border on inaccessible pages at their end or at their start."""

    def __init__(self, at_end: bool):
        self.at_end, self.mapped = at_end, []

    def empty(self, like: Tensor, shape=None, dtype: torch.dtype | None = None) -> Tensor:
        """Return an array in the layout of ``like``, or a contiguous one of another shape."""
        dtype, size = dtype or like.dtype, like.shape if shape is None else torch.Size(shape)
        flat = self._flat(size.numel() * dtype.itemsize, dtype)
        return flat.as_strided(size, like.stride()) if shape is None else flat.view(size)

    def copy(self, value):
        if not isinstance(value, Tensor):
            return value
        return self.empty(value).copy_(value)

    def release(self) -> None:
        for address, length in self.mapped:
            _libc.munmap(address, length)
        self.mapped.clear()

    def _flat(self, bytes_: int, dtype: torch.dtype) -> Tensor:
        if bytes_ == 0:
            return torch.empty(0, dtype=dtype)
        page = mmap.PAGESIZE
        inside = (bytes_ + page - 1) // page * page
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        address = _libc.mmap(
            None, inside + 2 * page, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0
        )
        for forbidden in (address, address + page + inside):
            assert _libc.mprotect(forbidden, page, NOTHING) == 0
        self.mapped.append((address, inside + 2 * page))
        start = address + page + (inside - bytes_ if self.at_end else 0)
        return torch.frombuffer((ctypes.c_char * bytes_).from_address(start), dtype=dtype)


def run(maps: Maps, at_end: bool) -> None:
    """Run every pass on ``maps``."""
    guard = Guard(at_end)
    with (
        mock.patch.object(torch, "empty_like", guard.empty),
        mock.patch.object(native, "_sums_of", lambda x, n: [_sums(guard, x) for _ in range(n)]),
        mock.patch.object(native, "bits_of", lambda x: _bits(guard, x)),
    ):
        for name in NAMES + ACTIVATED:
            getattr(native, name)(*map(guard.copy, maps.call(name)))
        if native.has_words(maps.x):
            x, p, A, D, shortcut, _ = map(guard.copy, maps.call("affine"))
            _, bits = torch.ops.senet_native.affine_with_mask(x, p, A, D, shortcut)
            native.grad_scale(guard.copy(maps.dy), bits, x, p)
        halves(maps, guard)
        if maps.x.numel():
            gates(maps, guard)
    guard.release()


def halves(maps: Maps, guard: Guard) -> None:
    """Run every half of a tail on ``maps``, in both modes, with a gate and without."""
    x, dy, shortcut = (guard.copy(map_) for map_ in (maps.x, maps.dy, maps.call("affine")[4]))
    B, C = x.shape[:2]
    vectors = [guard.copy(torch.rand(C) + 0.5) for _ in range(4)]
    s, dz = (guard.copy(torch.rand(B, C)) for _ in "sz")
    with mock.patch.object(tails, "_room", lambda *shape: guard.empty(x, shape, torch.float32)):
        for training, gate in product((True, False), (s, None)):
            if training and x.numel() <= C:
                continue
            norm = Norm(*vectors, training=training)
            z, of = tails.normalise(x, norm, gate is not None)
            assert (z is None) == (gate is None)
            _, mask = tails.scale(x, of, gate, shortcut, True, True)
            g, _, links = tails.grad_scale(dy, mask, x, of, gate)
            sent = None if gate is None else dz
            tails.grad_squeeze(g, links, sent, x, of, norm, True)
            for f in native.ACTIVATIONS:
                _, links = tails.grad_act_scale(dy, x, of, gate, f)
                tails.grad_act_squeeze(dy, links, sent, x, of, norm, f, True)


def gates(maps: Maps, guard: Guard) -> None:
    """Run a whole tail on ``maps``, with one layer and with two, and the layers alone."""
    x, shortcut = (guard.copy(map_) for map_ in (maps.x, maps.call("affine")[4]))
    B, C = x.shape[:2]
    R = C // 2 + 1
    norm = Norm(*(guard.copy(torch.rand(C) + 0.5) for _ in range(4)))
    w1, b1, w2, b2, w = map(guard.copy, (*_layer(R, C), *_layer(C, R), torch.randn(C, C)))
    mean = guard.copy(torch.rand(B, C))
    with mock.patch.object(tails, "_room", lambda *shape: guard.empty(x, shape, torch.float32)):
        for gate in (
            Gate(w1, b1, "relu", w2, b2, "sigmoid"),
            Gate(None, None, "relu", w, b2, "hardsigmoid"),
        ):
            for known in (mean, None):
                tails.gated_tail(x, norm, None, gate, shortcut, True, known, False)
            tails.gated_tail(x, None, "silu", gate, None, False, None, False)
            s = tails.excite(mean, gate)
            tails.rescale(x, s, shortcut, True, False)


def convolutions(guard: Guard) -> None:
    """Run pointwise convolutions, and the mean of their input."""
    for B, K, C, H, W in test_pointwise.SHAPES:
        h, shortcut = (
            guard.copy(torch.randn(B, c, H, W).contiguous(memory_format=torch.channels_last))
            for c in (K, C)
        )
        weight, bias = torch.randn(C, K, 1, 1), torch.randn(C)
        before, after = (test_pointwise.layers(K, n, True, "relu", "sigmoid") for n in (K, C))
        for gate in (None, before, after):
            call = pointwise.Pointwise(weight, bias, "relu", gate, gate is before)
            for layer, (w, b) in zip(call._layers, call._held, strict=True):
                layer.weight, layer.bias = (guard.copy(v).data_ptr() for v in (w, b))
            call(h, shortcut, True)
        with mock.patch.object(tails, "_room", partial(_room, guard)):
            tails.mean_after(h, guard.copy(weight.flatten(1)), guard.copy(torch.randn(C)))


def _room(guard: Guard, *shape: int) -> Tensor:
    return guard.empty(torch.empty(0), shape)


def _layer(outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    return torch.randn(outputs, inputs), torch.randn(outputs)


def _sums(guard: Guard, x: Tensor) -> Tensor:
    return guard.empty(x, x.shape[:2], torch.float32)


def _bits(guard: Guard, x: Tensor) -> Tensor:
    return guard.empty(x, [native.masks.length(x)], torch.uint8)


def main() -> None:
    faulthandler.enable()
    torch.set_num_threads(1)
    shapes = [(B, C, *space) for B, C, space in SHAPES]
    shapes += [shape for of_layout in WITH_WORDS.values() for shape in of_layout]
    for instruction_set in (b"avx512", b"avx2", b"baseline"):
        if native._c.senet_instruction_set(instruction_set) is None:
            continue
        for shape, type_, layout in product(shapes, TYPES, LAYOUTS):
            maps = Maps(shape, type_, layout)
            for at_end in (True, False):
                run(maps, at_end)
        for at_end in (True, False):
            convolutions(guard := Guard(at_end))
            guard.release()
    print("nothing else was touched")


if __name__ == "__main__":
    main()
