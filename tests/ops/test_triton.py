"""The Triton kernels against the plain passes, by the rule of ``tests/oracle.py``.

On a machine with a GPU everything here runs on it. Elsewhere the kernels run in Triton's
interpreter, which Python must be started with: one test starts pytest on this file again, in a
process of its own, so that no other test notices. Two more compile, in such a process, what cannot
be run: for a Hopper GPU, and into PyTorch's graphs.
"""

# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false
# (a kernel's helper is typed as callable by kernels only; and without a GPU none is loaded)

import importlib
import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any
from unittest import mock

import pytest
import torch

from senet.ops import activated, backend, eager, passes, tail
from senet.ops.activation import ACTIVATIONS
from senet.ops.norm import Norm
from tests.ops import corners
from tests.oracle import SHAKES, within_rule

pytestmark = pytest.mark.slow

triton = pytest.importorskip("triton", reason="needs Triton: pip install 'senet[triton]'")
tl = triton.language

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
HERE = not backend.missing("triton")
runs = pytest.mark.skipif(not HERE, reason="no GPU: test_in_the_interpreter runs this one")
without_gpu = pytest.mark.skipif(HERE, reason="what it stands in for is run here")

if HERE:
    from senet.ops import triton as kernels
    from senet.ops.triton import passes as kernel_file
    from senet.ops.triton.passes import _tile

    @triton.jit
    def _places(out, image, block, n, B, C, N, CHANNELS_LAST: tl.constexpr, T: tl.constexpr):
        program = tl.program_id(0)
        offsets, mask = _tile(image + program, block + program, n, B, C, N, CHANNELS_LAST, T, T)
        square = tl.arange(0, T)[:, None] * T + tl.arange(0, T)[None, :]
        tl.store(out + square, tl.where(mask, offsets, -1))


TYPES = [torch.float32, torch.bfloat16, torch.float16]
LAYOUTS = ["contiguous", "channels last"]


@without_gpu
def test_in_the_interpreter():
    run = subprocess.run(
        [sys.executable, "-m", "pytest", __file__, "-p", "no:cacheprovider"],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed, run.stdout
    assert int(passed[1]) > 100, run.stdout


@pytest.fixture(autouse=True)
def _poisoned():
    """Fill new memory with NaN, so that elements that are not written are noticed."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _rounding(monkeypatch):
    """Make the interpreter round to bfloat16, as a GPU does, where it truncates."""
    if not INTERPRETED:
        return
    from triton.runtime import interpreter

    cut = interpreter._convert_float

    def rounded(value, source, target, mode):
        if (source, target) != (tl.float32, tl.bfloat16):
            return cut(value, source, target, mode)
        short = torch.from_numpy(value.copy()).bfloat16()
        return short.view(torch.int16).numpy().view("uint16")

    monkeypatch.setattr(interpreter, "_convert_float", rounded)


@pytest.fixture
def split(monkeypatch):
    """Tiles so small, and programs so many, that their positions are split."""
    monkeypatch.setattr(kernel_file, "TILE", 256)
    monkeypatch.setattr(kernel_file, "RUN", 16)
    monkeypatch.setattr(kernel_file, "PROGRAMS", 10**6)


class Call:
    """Inputs for every pass, in one type and layout."""

    def __init__(self, shape, type_, layout, mean=0.0):
        self.type = type_
        channels = shape[1]

        def laid(value):
            if layout == "channels last":
                value = value.movedim(1, -1).contiguous().movedim(-1, 1)
            return value.to(DEVICE, type_)

        self.x = laid(torch.randn(shape) + mean)
        self.y, self.dy, self.shortcut = (laid(torch.randn(shape)) for _ in range(3))
        wide = passes.accumulator(type_)
        self.A, self.D, self.E = (torch.randn(shape[:2]).to(DEVICE, wide) for _ in range(3))
        self.K, pivot = (torch.randn(channels).to(DEVICE, wide) for _ in range(2))
        self.pivot = pivot + mean
        self.S = torch.randn(shape[:2]).to(DEVICE, wide)
        self.a, self.b, self.L = (torch.randn(channels).to(DEVICE, wide) for _ in range(3))

    def check(self, name, *arguments):
        """Compare each result of the pass ``name`` with its plain form."""
        fast = getattr(kernels, name)(*arguments)
        plain = getattr(eager, name)(*arguments)
        truth = getattr(eager, name)(*map(_exact, arguments))
        shaken = [getattr(eager, name)(*map(_shaken, arguments)) for _ in range(SHAKES)]
        fast, plain, truth, *shaken = (
            (r,) if isinstance(r, torch.Tensor) else r for r in (fast, plain, truth, *shaken)
        )
        for i, (f, p, t) in enumerate(zip(fast, plain, truth, strict=True)):
            if f.shape == self.x.shape:
                assert (f.dtype, f.stride()) == (self.type, self.x.stride())
            else:
                assert f.dtype == passes.accumulator(self.type)
            wrong = within_rule(f, p, t, f.dtype, [s[i] for s in shaken])
            assert not wrong, f"{name}, result {i}: {wrong}"

    def check_all(self):
        """Check every pass, with all optional arguments."""
        x, y, dy, p = self.x, self.y, self.dy, self.pivot
        self.check("moments", x, p)
        self.check("affine", x, p, self.A, self.D, self.shortcut, True)
        self.check("grad_scale", dy, y, x, p)
        self.check("grad_affine", dy, x, p, self.A, self.E, self.K)
        self.check_activated("silu")  # which has no corners

    def check_activated(self, activation):
        """Check the passes with an activation, with all optional arguments."""
        normed = self.x, self.pivot, self.a, self.b
        self.check("pooled", *normed, activation)
        self.check("activate", *normed, self.S, activation)
        self.check("grad_pooled", self.dy, *normed, activation, True)
        self.check("grad_activate", self.dy, *normed, activation, self.A, self.E, self.K, self.L)


def _exact(value):
    return value.double() if isinstance(value, torch.Tensor) else value


def _shaken(value):
    """``value`` in float64, each element moved by one rounding of its type.

    By sixteen where that is float64: the truth is then itself rounded, at every step.
    """
    if not isinstance(value, torch.Tensor):
        return value
    signs = torch.randint(2, value.shape, device=value.device).double() * 2 - 1
    steps = 16 if value.dtype == torch.float64 else 1
    return value.double() * (1 + signs * steps * torch.finfo(value.dtype).eps)


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("type_", TYPES, ids=str)
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 7, 7), (3, 3, 7, 7), (3, 16, 7, 7), (1, 67, 7, 7), (3, 16, 1, 1), (1, 67, 1, 1),
     (1, 3, 5, 13), (3, 16, 5, 13), (1, 1, 1, 1), (3, 16, 33), (1, 67, 4), (3, 6, 3, 4, 5)],
    ids=str,
)  # fmt: skip
def test_every_type_layout_and_shape(shape, type_, layout):
    Call(shape, type_, layout).check_all()


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("type_", TYPES, ids=str)
@pytest.mark.parametrize("channels", [3, 8])
def test_rows_split(channels, type_, layout, split):
    call = Call((2, channels, 5, 13), type_, layout)
    assert kernel_file._launch(call.x).sizes["splits"] > 2
    call.check_all()


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
def test_double_precision_stays_double(layout, split):
    Call((2, 5, 5, 13), torch.float64, layout).check_all()


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_splits_than_are_added_at_once(layout, split):
    call = Call((2, 3, 24, 25), torch.float32, layout)
    assert kernel_file._launch(call.x).sizes["splits"] > 32
    call.check("moments", call.x, call.pivot)
    call.check("grad_scale", call.dy, call.y, call.x, call.pivot)
    call.check("grad_pooled", call.dy, call.x, call.pivot, call.a, call.b, "silu", True)


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("splits", "tiles"), [(1, 13), (4, 4)])
def test_a_launch_of_several_tiles(splits, tiles, layout, split, monkeypatch):
    """The launch also has two blocks of rows."""
    monkeypatch.setattr(kernel_file, "SPLITS", splits)
    call = Call((1, 32, 14, 14), torch.float32, layout)
    launch = kernel_file._launch(call.x)
    assert (launch.sizes["splits"], launch.sizes["tiles"]) == (splits, tiles)
    assert launch.grid == (2 * splits,)
    call.check_all()


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("type_", TYPES, ids=str)
@pytest.mark.parametrize(("pivot", "y"), [(True, False), (False, True)])
def test_every_form_of_the_sums(pivot, y, type_, layout):
    c = Call((2, 5, 5, 7), type_, layout)
    pivot, y = (c.pivot if pivot else None), (c.y if y else None)
    c.check("moments", c.x, pivot)
    c.check("grad_scale", c.dy, y, c.x, pivot)


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize("pivot", [True, False])
def test_every_form_of_affine(pivot, shortcut, relu, layout):
    c = Call((3, 5, 5, 7), torch.bfloat16, layout)
    c.check(
        "affine", c.x, c.pivot if pivot else None, c.A, c.D, c.shortcut if shortcut else None, relu
    )


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("K", [True, False])
@pytest.mark.parametrize("E", [True, False])
def test_every_form_of_grad_affine(E, K, layout):
    c = Call((3, 5, 5, 7), torch.bfloat16, layout)
    E, K = (v if given else None for v, given in [(c.E, E), (c.K, K)])
    x, pivot = (None, None) if K is None else (c.x, c.pivot)
    c.check("grad_affine", c.dy, x, pivot, c.A, E, K)


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pivot", [True, False])
@pytest.mark.parametrize("full", [True, False])
def test_every_form_through_an_activation(full, pivot, layout):
    c = Call((3, 5, 5, 7), torch.bfloat16, layout)
    normed = c.x, c.pivot if pivot else None, c.a, c.b
    E, K, L, S = (v if full else None for v in (c.E, c.K, c.L, c.S))
    c.check("activate", *normed, S, "silu")
    c.check("grad_pooled", c.dy, *normed, "silu", full)
    c.check("grad_activate", c.dy, *normed, "silu", c.A, E, K, L)


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_its_corners(activation, layout):
    """At multiples of a half u is exact."""
    c = Call((2, 5, 5, 7), torch.float32, layout)
    c.x.copy_((8 * c.x).round())
    c.pivot.zero_()
    c.a.fill_(0.5)
    c.b.zero_()
    assert {-3, 0, 3, 6} <= set((c.a[0] * c.x).flatten().tolist())
    normed = c.x, c.pivot, c.a, c.b
    f, u = ACTIVATIONS[activation], c.x / 2
    y = kernels.activate(*normed, None, activation)
    torch.testing.assert_close(y, f.function(u))
    dx = kernels.grad_activate(
        torch.ones_like(c.x), *normed, activation, torch.ones_like(c.A), None, None, None
    )
    torch.testing.assert_close(dx, f.slope(u))
    pooled = kernels.pooled(*normed, activation)
    torch.testing.assert_close(pooled, f.function(u).sum((2, 3)))
    sums = kernels.grad_pooled(c.dy, *normed, activation, True)
    for sum_, wanted in zip(sums, eager.grad_pooled(c.dy, *normed, activation, True), strict=True):
        torch.testing.assert_close(sum_, wanted)


@runs
@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_the_gradient_of_a_relu_is_pytorchs(type_):
    """Check g for infinite or NaN y and dy, and the sums, since each channel has one number."""
    y, dy, g = (v.to(DEVICE, type_)[None, :, None] for v in corners.of("relu"))
    got, S1, S2 = kernels.grad_scale(dy, y, torch.ones_like(y), None)
    torch.testing.assert_close(got, g, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(S1, g.float().sum(2), equal_nan=True)
    torch.testing.assert_close(S2, S1, equal_nan=True)


@runs
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_activations_are_pytorchs(activation):
    u, dy, du = (v.to(DEVICE)[None, :, None] for v in corners.of(activation))
    one = torch.ones(1, u.shape[1], device=DEVICE)
    normed = u, None, one[0], 0 * one[0], activation
    dx = kernels.grad_activate(dy, *normed, one, None, None, None)
    torch.testing.assert_close(dx, du, equal_nan=True)
    S1, S2, *_ = kernels.grad_pooled(dy, *normed, True)
    torch.testing.assert_close(S1, du.sum(2), equal_nan=True)
    torch.testing.assert_close(S2, (du * u).sum(2), equal_nan=True)


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_a_mean_of_a_hundred_deviations(type_, layout):
    Call((2, 5, 7, 7), type_, layout, mean=100.0).check_all()


@runs
@pytest.mark.parametrize("shape", [(0, 3, 7, 7), (2, 0, 7, 7), (2, 3, 0, 7)], ids=str)
def test_empty_maps(shape):
    Call(shape, torch.float32, "contiguous").check_all()


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
def test_coefficients_that_were_expanded_or_lie_apart(layout):
    c = Call((3, 6, 5, 5), torch.float32, layout)
    expanded = c.A[0].expand(3, 6)
    apart = c.D.T.contiguous().T
    K, pivot = torch.stack([c.K, c.pivot], 1).unbind(1)
    c.check("moments", c.x, pivot)
    c.check("grad_scale", c.dy, c.y, c.x, pivot)
    c.check("affine", c.x, pivot, expanded, apart, None, False)
    c.check("affine", c.x, pivot, apart, expanded, None, False)
    c.check("grad_affine", c.dy, c.x, pivot, expanded, apart, K)
    c.check("grad_affine", c.dy, c.x, pivot, c.A, expanded, K)
    c.check("activate", c.x, pivot, K, pivot, expanded, "silu")
    c.check("activate", c.x, pivot, K, pivot, apart, "silu")
    c.check("grad_activate", c.dy, c.x, pivot, K, pivot, "silu", expanded, apart, K, pivot)
    c.check("grad_activate", c.dy, c.x, pivot, K, pivot, "silu", apart, expanded, K, pivot)


@runs
@pytest.mark.parametrize("channels_last", [True, False])
def test_places_beyond_32_bits(channels_last):
    """The last tile of a map of 2³⁶ elements."""
    B, C, N, T = 2**8, 2**10, 2**18, 4
    image, rows = (B - 1, C) if channels_last else (0, B * C)
    got = torch.empty(T, T, dtype=torch.int64, device=DEVICE)
    _places[(1,)](got, image, rows // T - 1, N - T, B, C, N, channels_last, T)
    last = torch.arange(-T, 0)
    if channels_last:
        wanted = (B * N + last) * C + (C + last)[:, None]
    else:
        wanted = (B * C + last)[:, None] * N + (N + last)
    assert torch.equal(got.cpu(), wanted)


@runs
def test_halves_are_rounded_to_the_nearest():
    value = torch.tensor([1 + 3 / 512, 1 - 3 / 512, 70000.0]).reshape(1, 3, 1).to(DEVICE)
    one, none = torch.ones(1, 3, device=DEVICE), torch.zeros(1, 3, device=DEVICE)
    for type_ in (torch.bfloat16, torch.float16):
        x = torch.ones(1, 3, 1, device=DEVICE, dtype=type_)
        y = kernels.affine(x, one[0], one, none + value[..., 0], None, False)
        assert torch.equal(y, value.to(type_))


@runs
def test_the_same_bits_every_time(split):
    c = Call((2, 3, 9, 9), torch.float32, "channels last")
    first, second = (kernels.grad_scale(c.dy, c.y, c.x, c.pivot) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@runs
def test_it_takes_floats_where_the_kernels_run():
    for type_ in [*TYPES, torch.float64]:
        assert kernels.takes(torch.ones(1, 2, 3, device=DEVICE, dtype=type_))
    assert not kernels.takes(torch.ones(1, 2, 3, device=DEVICE, dtype=torch.int32))
    assert not kernels.takes(torch.ones(1, 2, 3, device="meta"))


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [True, False])
def test_the_whole_tail_of_a_block(training, layout):
    """Batch norm, SE, shortcut and ReLU, forward and backward, as on the plain backend."""

    def on(name):
        c, norm, gate, learned = _block(training, layout)
        with backend.use(name):
            h = tail.norm_squeeze(c.x, norm)
            y = tail.norm_scale(h, gate(h.z), c.shortcut, relu=True)
            return [y, *torch.autograd.grad(y, [c.shortcut, *learned], c.dy)]

    for got, wanted in zip(on("triton"), on("eager"), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def _block(training, layout):
    """Maps, a batch norm, a gate and all that learns, the same each time."""
    torch.manual_seed(1)
    c = Call((3, 8, 7, 7), torch.float32, layout)
    c.shortcut.requires_grad_()
    weight, bias, mean = (torch.randn(8, device=DEVICE) for _ in range(3))
    w1, w2 = torch.randn(2, 8, device=DEVICE), torch.randn(8, 2, device=DEVICE)
    learned = [v.requires_grad_() for v in (c.x, weight, bias, w1, w2)]
    norm = Norm(mean, mean.square(), weight, bias, training)
    return c, norm, lambda z: torch.sigmoid(torch.relu(z @ w1.T) @ w2.T), learned


@runs
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("se", [True, False])
def test_the_whole_unit_with_an_activation(se, training, layout):
    """Batch norm, SiLU and SE, forward and backward, as on the plain backend."""

    def on(name):
        c, norm, gate, learned = _block(training, layout)
        with backend.use(name):
            h = activated.act_squeeze(c.x, norm, "silu", squeeze=se)
            y = activated.act_scale(h, gate(h.z) if se else None)
            return [y, *torch.autograd.grad(y, learned if se else learned[:3], c.dy)]

    for got, wanted in zip(on("triton"), on("eager"), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@runs
@pytest.mark.skipif(INTERPRETED, reason="needs a GPU")
def test_compiled_and_captured_in_a_cuda_graph():
    c = Call((4, 32, 14, 14), torch.bfloat16, "channels last")

    def f(x):
        y = kernels.affine(x, c.pivot, c.A, c.D, c.shortcut, True)
        return y, *kernels.grad_scale(c.dy, y, x, c.pivot)

    wanted = f(c.x)
    for a, b in zip(torch.compile(f, fullgraph=True)(c.x), wanted, strict=True):
        torch.testing.assert_close(a, b)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = f(c.x)
    graph.replay()
    for a, b in zip(captured, wanted, strict=True):
        assert torch.equal(a, b)


@without_gpu
def test_it_says_why_it_cannot_run(monkeypatch):
    assert "no GPU" in backend.missing("triton")
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(ImportError, match="pip install"):
        importlib.import_module("senet.ops.triton")


# ---- What can be known of the compiled kernels without a GPU.


@pytest.fixture(scope="module")
def hopper():
    """Run a function in a process where Triton believes that it has a Hopper GPU."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


def _on_hopper():
    """Return the module of the kernels as on a machine with such a GPU."""
    from triton.backends.compiler import GPUTarget

    driver = mock.Mock(**{"get_current_target.return_value": GPUTarget("cuda", 90, 32)})
    triton.runtime.driver.set_active(driver)
    with (
        mock.patch("torch.cuda.is_available", return_value=True),
        mock.patch("torch.cuda.get_device_capability", return_value=(9, 0)),
    ):
        from senet.ops.triton import passes as kernels
    return kernels


MAPS = {"x", "y", "dy", "dx", "g", "shortcut"}
SIZES = {"B", "C", "N", "tiles", "splits", "A_stride", "D_stride", "E_stride", "S_stride"}


def _reads_and_writes(kernel, constants):
    """Count the loads ("ld") and stores ("st") of a kernel by their number of bytes."""
    kernels = _on_hopper()
    from triton.compiler import ASTSource

    kernel = getattr(kernels, kernel)
    signature, values, facts = {}, {}, {}
    for i, parameter in enumerate(kernel.params):
        name = parameter.name
        if name in constants:
            signature[name], values[(i,)] = "constexpr", constants[name]
        elif name in SIZES:
            signature[name] = "i32"
        else:
            signature[name] = "*bf16" if name in MAPS else "*fp32"
            facts[(i,)] = [["tt.divisibility", 16]]
    target = triton.runtime.driver.active.get_current_target()
    ptx = triton.compile(ASTSource(kernel, signature, values, facts), target=target).asm["ptx"]
    found = re.findall(r"\b(ld|st)\.global(?:\.v(\d))?\.b(\d+)", ptx)
    return Counter((kind, int(many or 1) * int(bits) // 8) for kind, many, bits in found)


@without_gpu
@pytest.mark.parametrize(
    ("kernel", "reads", "writes"),
    [
        ("_moments", 1, 0),
        ("_affine", 2, 1),
        ("_grad_scale", 3, 1),
        ("_grad_affine", 2, 1),
        ("_pooled", 1, 0),
        ("_activate", 1, 1),
        ("_grad_pooled", 2, 0),
        ("_grad_activate", 2, 1),
    ],
)
@pytest.mark.parametrize(
    "walk",
    [(True, 16, 128, 16), (True, 8, 32, 64), (False, 16, 16, 128)],
    ids=["256 channels last", "24 channels last", "56x56 contiguous"],
)
def test_maps_are_moved_sixteen_bytes_at_a_time(kernel, reads, writes, walk, hopper):
    constants = dict(zip(("CHANNELS_LAST", "MULTIPLE", "R_TILE", "N_TILE"), walk, strict=True))
    constants |= {"RELU": True, "ACTIVATION": "silu"}
    found = hopper(_reads_and_writes, kernel, constants)
    a_map = 2  # 16 elements of 2 bytes
    assert found["ld", 16] >= reads * a_map, found
    assert found["st", 16] == writes * a_map, found
    assert not {found["ld", 2], found["st", 2]} - {0}, found  # none element by element


def _traced(shape, dynamic):
    """Return what each kernel writes in the graph that torch.compile makes of all passes."""
    kernels = _on_hopper()
    from torch._dynamo.backends.common import aot_autograd
    from torch._dynamo.exc import BackendCompilerFailed
    from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table

    x = torch.randn(shape).to(memory_format=torch.channels_last)
    a_row, a_channel = torch.randn(shape[:2]), torch.randn(shape[1])
    expanded = a_channel.expand(shape[:2])
    written = []

    def all_passes(x):
        sums = kernels.moments(x, a_channel)
        y = kernels.affine(x, a_channel, a_row, expanded, x, True)
        g, *more = kernels.grad_scale(x, y, x, None)
        sums += tuple(more)
        normed = x, None, a_channel, a_channel
        sums += (kernels.pooled(*normed, "silu"),)
        y = kernels.activate(*normed, a_row, "silu")
        sums += tuple(kernels.grad_pooled(y, *normed, "silu", True))
        dx = kernels.grad_activate(y, *normed, "silu", a_row, expanded, a_channel, a_channel)
        return sums, dx, kernels.grad_affine(g, x, None, a_row, expanded, a_channel)

    def look(graph, _):
        for node in graph.graph.nodes:
            if "triton_kernel_wrapper" in str(node.target):
                kernel: Any = kernel_side_table.get_kernel(node.kwargs["kernel_idx"])
                written.append((kernel.fn.__name__, set(node.kwargs["tensors_to_clone"])))
        raise NotImplementedError("seen, not to be run")

    looking = aot_autograd(fw_compiler=look)
    with pytest.raises(BackendCompilerFailed, match="seen, not to be run"):
        torch.compile(all_passes, fullgraph=True, dynamic=dynamic, backend=looking)(x)
    return written


@without_gpu
@pytest.mark.parametrize("dynamic", [False, True])
def test_torch_compile_sees_through_the_passes(dynamic, hopper):
    """There is one graph, in which PyTorch knows that a kernel writes only its results."""
    assert hopper(_traced, (2, 24, 14, 14), dynamic) == [
        ("_moments", {"sums", "squares"}),
        ("_sum_splits", {"first_sums", "second_sums"}),
        ("_affine", {"y"}),
        ("_grad_scale", {"g", "S1", "S2"}),
        ("_sum_splits", {"first_sums", "second_sums"}),
        ("_pooled", {"sums"}),
        ("_sum_splits", {"first_sums"}),
        ("_activate", {"y"}),
        ("_grad_pooled", {"S1", "S2", "ds", "C1", "C2"}),
        ("_sum_splits", {"first_sums", "second_sums"}),
        ("_sum_splits", {"first_sums", "second_sums"}),
        ("_sum_splits", {"first_sums"}),
        ("_grad_activate", {"dx"}),
        ("_grad_affine", {"dx"}),
    ]
