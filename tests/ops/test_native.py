"""The C passes against the plain ones, by the rule of ``tests/oracle.py``."""

import os
import subprocess
import sys
import textwrap
from itertools import product
from pathlib import Path

import pytest
import torch

from senet.ops import backend, eager, passes
from senet.ops.activation import ACTIVATIONS
from tests.oracle import SHAKES, within_rule

native = pytest.importorskip("senet.ops.native", exc_type=ImportError)
library = native.library

ROOT = Path(__file__).parents[2]
TYPES = [torch.float32, torch.bfloat16, torch.float16]
LAYOUTS = ["contiguous", "channels last"]
NAMES = ["moments", "affine", "grad_moments", "grad_affine"]
ACTIVATED = ["pooled", "activate", "grad_pooled", "grad_activate"]


@pytest.fixture(autouse=True)
def _poisoned():
    """Fresh memory holds NaN, so that an element that is not written is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["avx512", "avx2", "baseline"])
def instruction_set(request):
    if native._c.senet_instruction_set(request.param.encode()) is None:
        pytest.skip(f"this machine has no {request.param}")
    yield request.param
    native._c.senet_instruction_set(None)


class Maps:
    """What the passes take, in one type and layout."""

    def __init__(self, shape, type_, layout, mean=0.0):
        def laid(value):
            value = value.to(type_)
            if layout == "channels last":
                value = value.movedim(1, -1).contiguous().movedim(-1, 1)
            return value

        self.x, self.dy, self.y, self.shortcut = (laid(torch.randn(shape)) for _ in range(4))
        self.x = laid(torch.randn(shape) + mean)
        self.A, self.D, self.E, self.S = (torch.randn(shape[:2]) for _ in range(4))
        self.K, self.pivot = torch.randn(shape[1]), torch.randn(shape[1]) + mean
        self.a, self.b, self.L = (torch.randn(shape[1]) for _ in range(3))

    def off_the_corners(self):
        """With no u so near a corner of an activation that rounding decides on its slope."""
        a, b, p = (v[:, None] for v in (self.a, self.b, self.pivot))
        for _ in range(100):
            x = self.x.flatten(2).double()
            u = a * (x - p) + b
            near = (u[..., None] - torch.tensor([-3, 0, 3, 6])).abs().amin(-1) < 1e-3
            if not near.any():
                return self
            self.x.view(self.x.shape).copy_((x + 0.1 * near).view(self.x.shape))
        raise AssertionError("something is always near a corner")

    def call(self, name, activation="silu"):
        """The arguments of a pass, with all that may be given."""
        x, y, dy, p = self.x, self.y, self.dy, self.pivot
        normed = x, p, self.a, self.b
        return {
            "pooled": (*normed, activation),
            "activate": (*normed, self.S, activation),
            "grad_pooled": (dy, *normed, activation, True),
            "grad_activate": (dy, *normed, activation, self.A, self.E, self.K, self.L),
            "moments": (x, p),
            "affine": (x, p, self.A, self.D, self.shortcut, True),
            "grad_moments": (dy, y, x, p),
            "grad_affine": (dy, y, x, p, self.A, self.E, self.K, True),
        }[name]


def check(name, *arguments):
    """Hold each result of the pass ``name`` against its plain form."""
    plainly = getattr(eager, name)
    fast, plain, truth, *shaken = (
        (results,) if isinstance(results, torch.Tensor) else results
        for results in (
            getattr(native, name)(*arguments),
            plainly(*arguments),
            plainly(*map(_exact, arguments)),
            *(plainly(*map(_shaken, arguments)) for _ in range(SHAKES)),
        )
    )
    like = arguments[0]
    for i, (f, p, t) in enumerate(zip(fast, plain, truth, strict=True)):
        if f is None:
            assert p is None, (name, i)
            continue
        if f.shape == like.shape:
            assert (f.dtype, f.stride()) == (like.dtype, like.stride()), (name, i)
        else:
            assert (f.dtype, f.shape) == (torch.float32, like.shape[:2]), (name, i)
        wrong = within_rule(f, p, t, f.dtype, [s[i] for s in shaken])
        assert not wrong, f"{name}, result {i}: {wrong}"


def check_all(maps):
    for name in NAMES + ACTIVATED:
        check(name, *maps.call(name))


def _exact(argument):
    return argument.double() if isinstance(argument, torch.Tensor) else argument


def _shaken(argument):
    """The argument in float64, every number moved up or down by a rounding of float32."""
    if not isinstance(argument, torch.Tensor):
        return argument
    signs = torch.randint(2, argument.shape) * 2 - 1
    return argument.double() * (1 + signs * torch.finfo(torch.float32).eps)


SHAPES = [
    *product([1, 3], [1, 3, 16, 67], [(1, 1), (7, 7), (13, 17)]),
    (2, 24, (56, 56)),
    *[(2, 5, (131,)), (2, 67, (3, 5, 7)), (1, 3, (1,)), (3, 200, (2, 2, 2))],
    *[
        (2, 1500, (3, 3)),
        (1, 2049, (5, 5)),
        (1, 2, (70_000,)),
        (1, 130, (50, 50)),
    ],  # in several cuts
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("type_", TYPES)
def test_every_shape(type_, layout):
    for B, C, space in SHAPES:
        check_all(Maps((B, C, *space), type_, layout))


@pytest.mark.parametrize("type_", TYPES)
def test_every_instruction_set(instruction_set, type_):
    for layout, shape in product(LAYOUTS, [(3, 67, 7, 7), (2, 16, 13, 17), (2, 3, 300), (1, 1, 5)]):
        check_all(Maps(shape, type_, layout))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("type_", TYPES)
def test_every_combination(type_, layout):
    m = Maps((2, 19, 5, 7), type_, layout)
    for pivot in (m.pivot, None):
        check("moments", m.x, pivot)
        for shortcut, relu in product((m.shortcut, None), (True, False)):
            check("affine", m.x, pivot, m.A, m.D, shortcut, relu)
        for y in (m.y, None):
            check("grad_moments", m.dy, y, m.x, pivot)
            for E, K, shortcut in product((m.E, None), (m.K, None), (True, False)):
                check("grad_affine", m.dy, y, m.x, pivot, m.A, E, K, shortcut)
    check("grad_affine", m.dy, m.y, None, None, m.A, m.E, None, True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(instruction_set, activation, type_, layout):
    m = Maps((2, 19, 5, 7), type_, layout).off_the_corners()
    for name in ACTIVATED:
        check(name, *m.call(name, activation))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("type_", TYPES)
def test_every_combination_through_an_activation(type_, layout):
    m = Maps((2, 19, 5, 7), type_, layout).off_the_corners()
    for pivot in (m.pivot, None):
        normed = m.x, pivot, m.a, m.b
        check("pooled", *normed, "silu")
        for S in (m.S, None):
            check("activate", *normed, S, "silu")
        for se in (True, False):
            check("grad_pooled", m.dy, *normed, "silu", se)
        for E, (K, L) in product((m.E, None), ((m.K, m.L), (None, None))):
            check("grad_activate", m.dy, *normed, "silu", m.A, E, K, L)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_activations_at_their_ends(instruction_set, layout):
    """Of huge, infinite and no numbers at all, and at the corners: what PyTorch says."""
    nan, inf = float("nan"), float("inf")
    u = torch.tensor(
        [-3, 3, 0, -0.0, 6, nan, -nan, inf, 1e30, -1e30, -1e4, -100, -90, -88, 88, 1e4]
    )
    x = u.repeat(3).view(1, 1, -1)
    if layout == "channels last":
        x = x.repeat(1, 4, 1).movedim(1, -1).contiguous().movedim(-1, 1)
    one = torch.ones(x.shape[1])
    for name, f in ACTIVATIONS.items():
        y = native.activate(x, None, one, 0 * one, None, name)
        torch.testing.assert_close(y, f.function(x), equal_nan=True, rtol=3e-7, atol=1e-36)
        dx = native.grad_activate(
            torch.ones_like(x), x, None, one, 0 * one, name, one[None], None, None, None
        )
        known = x.isfinite()
        torch.testing.assert_close(dx[known], f.slope(x)[known], rtol=3e-7, atol=3e-7)


def test_the_last_digits_of_silu(instruction_set):
    """Within three units in the last place, as far as these are of a normal float."""
    u = torch.cat([torch.linspace(-86, 100, 1 << 18), torch.randn(1 << 16)])[None, None]
    one = torch.ones(1)
    y = native.activate(u, None, one, 0 * one, None, "silu").double()
    exact = torch.nn.functional.silu(u.double())
    digit = torch.finfo(torch.float32).eps * exact.abs() + 1e-37
    assert ((y - exact).abs() / digit).max() < 3


@pytest.mark.parametrize("shape", [(0, 4, 3, 3), (2, 4, 0, 3), (2, 0, 3, 3), (2, 0, 1)])
@pytest.mark.parametrize("type_", TYPES)
def test_empty_maps(type_, shape):
    check_all(Maps(shape, type_, "contiguous"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("type_", TYPES)
def test_mean_far_from_zero(type_, layout):
    m = Maps((4, 19, 13, 17), type_, layout, mean=100.0)
    for name in NAMES + ACTIVATED:
        check(name, *m.call(name))
    N = 13 * 17
    total, squares = native.moments(m.x, m.pivot)
    exact = m.x.double().var((2, 3), correction=0)
    torch.testing.assert_close(
        (squares / N - (total / N).square()).double(), exact, rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_long_sums_keep_their_digits(layout):
    """Where one float would stand still at 2^24."""
    x = torch.ones(1, 1 << 25, 2, dtype=torch.bfloat16).movedim(-1, 1)
    total, squares = native.moments(x if layout == "channels last" else x.contiguous(), None)
    assert total.tolist() == squares.tolist() == [[1 << 25] * 2]


@pytest.mark.parametrize("type_", TYPES)
def test_huge_values(type_):
    x = torch.full((1, 2, 5), torch.finfo(type_).max, dtype=type_)
    total, _ = native.moments(x[:, :, :1].contiguous(), None)
    assert total.tolist() == [[torch.finfo(type_).max] * 2]
    one = torch.ones(1, 2)
    assert native.affine(x, None, 2 * one, 0 * one, None, False).isinf().all()


@pytest.mark.parametrize("type_", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_number_of_a_half_type(instruction_set, type_, layout):
    """There and back through float, bit for bit; NaN stays NaN."""
    x = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(type_).view(1, 32, 2048)
    if layout == "channels last":
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    one = torch.ones(1, 32)
    y = native.affine(x, None, one, 0 * one, None, False)
    assert torch.equal(y.isnan(), x.isnan())
    assert torch.equal(y.nan_to_num(0), x.nan_to_num(0))


@pytest.mark.parametrize("type_", [torch.bfloat16, torch.float16])
def test_rounds_as_pytorch_does(instruction_set, type_):
    # Numbers of all sizes, and those half way between two of the shorter type.
    bits = torch.randint(-(1 << 31), 1 << 31, (1 << 18,), dtype=torch.int64).to(torch.int32)
    middle = torch.randn(1 << 16).to(type_).float()
    middle = (
        middle + torch.nextafter(middle.to(type_), torch.tensor(9.0, dtype=type_)).float()
    ) / 2
    values = torch.cat([bits.view(torch.float32), middle, torch.rand(1 << 16) * 2**-14])
    values = values[values.isfinite()]
    # D is the only number that is not of the map's type; so it carries the value to be rounded.
    D = values[None]
    y = native.affine(torch.zeros(D.shape, dtype=type_), None, torch.zeros_like(D), D, None, False)
    assert torch.equal(y, D.to(type_))
    nan = torch.tensor([[0x7FFFFFFF, 0x7F800001, -1]], dtype=torch.int32).view(torch.float32)
    zero = torch.zeros(nan.shape)
    assert native.affine(zero.to(type_), None, zero, nan, None, False).isnan().all()


def test_relu_and_nan():
    nan = float("nan")
    x = torch.tensor([[[nan, -1.0, 2.0]]])
    one = torch.ones(1, 1)
    y = native.affine(x, None, one, 0 * one, None, True)
    assert y.isnan().tolist() == [[[True, False, False]]]
    assert y[0, 0, 1:].tolist() == [0, 2]
    # A gradient passes where y > 0: not where y is NaN, as in eager.
    dx, g = native.grad_affine(torch.ones(1, 1, 3), y, None, None, one, None, None, True)
    assert dx.tolist() == g.tolist() == [[[0, 0, 1]]]


@pytest.mark.parametrize("shape", [(3, 16, 57, 57), (1, 2, 100_001), (1, 600, 40, 40)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_bits_for_any_number_of_threads(shape, layout):
    m = Maps(shape, torch.float32, layout)
    found = []
    for count in (1, 2, 3, 2):
        torch.set_num_threads(count)
        found.append([getattr(native, name)(*m.call(name)) for name in NAMES + ACTIVATED])
    for other in found[1:]:
        for one, two in zip(_flat(found[0]), _flat(other), strict=True):
            assert torch.equal(one, two)


def _flat(results):
    return [t for r in results for t in ([r] if isinstance(r, torch.Tensor) else r)]


def test_small_arrays_may_lie_anyhow():
    m = Maps((2, 6, 5, 5), torch.float32, "channels last")
    A = torch.randn(6, 2).T
    D = torch.randn(6).expand(2, 6)
    pivot = torch.randn(12)[::2]
    check("affine", m.x, pivot, A, D, None, True)
    check("grad_affine", m.dy, m.y, m.x, pivot, A, D, pivot, True)
    check("activate", m.x, pivot, pivot, pivot, A, "silu")
    check("grad_pooled", m.dy, m.x, pivot, pivot, pivot, "silu", True)
    check("grad_activate", m.dy, m.x, pivot, pivot, pivot, "silu", A, D, pivot, pivot)


def test_strides_of_dimensions_of_size_1_do_not_matter():
    x = torch.randn(2, 3, 5, 1).as_strided((2, 3, 5, 1), (15, 1, 3, 7))
    dy = torch.randn(2, 3, 5, 1).as_strided((2, 3, 5, 1), (15, 1, 3, 1))
    check("grad_moments", dy, dy, x, None)


def test_takes():
    assert [native.takes(torch.zeros(1, dtype=t)) for t in TYPES] == [True] * 3
    assert not native.takes(torch.zeros(1, dtype=torch.float64))
    assert not native.takes(torch.zeros(1, device="meta"))


# ------------------------------------------------------------------------ as operators of PyTorch


@pytest.mark.parametrize("name", NAMES + ACTIVATED)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_opcheck(name, layout):
    torch.use_deterministic_algorithms(False)  # opcheck compares fresh memory with fresh memory
    operator = getattr(torch.ops.senet_native, name).default
    torch.library.opcheck(operator, Maps((2, 5, 3, 4), torch.float32, layout).call(name))


def test_compiles_in_one_graph():
    def tail(x, dy, A, D, E, K, pivot):
        total, squares = native.moments(x, pivot)
        y = native.affine(x, pivot, A + total, D, x, True)
        S1, S2 = native.grad_moments(dy, y, x, pivot)
        dx, g = native.grad_affine(dy, y, x, pivot, A, E + S1 + S2 + squares, K, True)
        return y, dx, g

    m = Maps((2, 5, 6, 6), torch.float32, "channels last")
    arguments = m.x, m.dy, m.A, m.D, m.E, m.K, m.pivot
    in_one = torch.compile(tail, fullgraph=True, backend="aot_eager")
    for compiled, plain in zip(in_one(*arguments), tail(*arguments), strict=True):
        assert compiled.stride() == plain.stride()
        torch.testing.assert_close(compiled, plain)


def test_seen_by_fake_tensors_and_modes():
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.utils.flop_counter import FlopCounterMode

    m = Maps((2, 5, 6, 6), torch.bfloat16, "channels last")
    with FakeTensorMode() as mode:
        x = mode.from_tensor(m.x)
        y = native.affine(x, None, torch.ones(2, 5), torch.ones(2, 5), None, True)
    assert (y.shape, y.stride(), y.dtype) == (m.x.shape, m.x.stride(), m.x.dtype)
    graph = make_fx(lambda x: native.moments(x, None))(m.x)
    assert "senet_native.moments" in graph.code
    with FlopCounterMode(display=False):
        check("moments", m.x, None)


def test_through_the_dispatch():
    m = Maps((2, 5, 6, 6), torch.float32, "channels last")
    with backend.use("native"):
        fast = passes.affine(m.x, m.pivot, m.A, m.D, m.shortcut.contiguous(), True)
    assert fast.stride() == m.x.stride()
    torch.testing.assert_close(fast, eager.affine(m.x, m.pivot, m.A, m.D, m.shortcut, True))


def test_maps_that_lie_differently_are_refused():
    m = Maps((2, 5, 6, 6), torch.float32, "channels last")
    with pytest.raises(AssertionError):
        native.grad_moments(m.dy.contiguous(), None, m.x, None)
    with pytest.raises(AssertionError):
        native.moments(m.x[:, :, ::2], None)
    with pytest.raises(AssertionError):
        native.grad_pooled(m.dy.contiguous(), *m.call("pooled"), True)


# --------------------------------------------------------------------------------- the C library


def test_one_openmp_runtime():
    """Two would spin against each other: as many threads as PyTorch has, from one library."""
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_COUNT_RUNTIMES)],
        env=os.environ | {"OMP_NUM_THREADS": "3", "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    runtimes, before, after = found.stdout.split()
    assert runtimes == "1", found.stdout
    assert before == after, found.stdout


_COUNT_RUNTIMES = """
    import os
    import torch
    torch.set_num_threads(3)
    x = torch.randn(8, 32, 64, 64)
    x + x
    before = len(os.listdir("/proc/self/task"))
    from senet.ops import native
    from senet.ops.native import library
    native.moments(x, None)
    print(len(library.openmp_runtimes()), before, len(os.listdir("/proc/self/task")))
"""


def test_library_needs_no_runtime_of_its_own():
    """Loaded where no OpenMP is, its symbols stay open: it was not linked with one."""
    path = next(library.FOLDER.glob("_passes*.so"))
    found = subprocess.run(
        [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(path)!r})"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode != 0
    assert "undefined symbol" in found.stderr


def test_no_library(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    with pytest.raises(ImportError, match=r"was not built.*no C compiler.*apt install gcc.*pip"):
        library.load()
    monkeypatch.delitem(sys.modules, "senet.ops.native")
    monkeypatch.setattr(backend, "_ready", {})
    monkeypatch.setattr(backend, "_reasons", {})
    assert "native: its C library was not built" in backend.explain()
    assert backend.of(torch.ones(1, 2, 3)) is eager
    with pytest.raises(ValueError, match="was asked for by name"), backend.use("native"):
        pass


def test_library_that_does_not_load(monkeypatch, tmp_path):
    built = next(library.FOLDER.glob("_passes*.so"))
    (tmp_path / built.name).write_bytes(b"not a library")
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    with pytest.raises(ImportError, match=r"does not load here.*Build it on this machine"):
        library.load()


def test_library_of_another_source(monkeypatch, tmp_path):
    built = next(library.FOLDER.glob("_passes*.so"))
    (tmp_path / built.name).symlink_to(built)
    (tmp_path / "passes.c").write_text("int changed;")
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    with pytest.raises(ImportError, match=r"another passes\.c.*pip install"):
        library.load()


def test_installs_without_a_compiler(tmp_path):
    pytest.importorskip("setuptools", reason="needs setuptools to build the package")
    build = subprocess.run(
        [
            sys.executable,
            "setup.py",
            "build_ext",
            "--build-lib",
            tmp_path,
            "--build-temp",
            tmp_path,
        ],
        cwd=ROOT,
        env=os.environ | {"CC": "/no/such/compiler"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    assert not list(tmp_path.rglob("*.so"))


def test_instruction_sets():
    assert native._c.senet_instruction_set(b"no such") is None
    assert native._c.senet_instruction_set(None) in (b"avx512", b"avx2", b"baseline")
