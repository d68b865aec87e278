"""The C passes against the plain ones, by the rule of ``tests/oracle.py``."""

import os
import signal
import subprocess
import sys
import textwrap
from itertools import product
from pathlib import Path

import pytest
import torch

from senet.ops import backend, eager, passes
from senet.ops import mask as masks
from senet.ops.activation import ACTIVATIONS
from tests.ops import corners
from tests.oracle import SHAKES, within_rule

pytestmark = pytest.mark.slow

native = pytest.importorskip("senet.ops.native", exc_type=ImportError)
library = native.library

ROOT = Path(__file__).parents[2]
TYPES = [torch.float32, torch.bfloat16, torch.float16]
LAYOUTS = ["contiguous", "channels last"]
NAMES = ["moments", "affine", "grad_scale", "grad_affine"]
ACTIVATED = ["pooled", "activate", "grad_pooled", "grad_activate"]


@pytest.fixture(autouse=True)
def _poisoned():
    """Fill new memory with NaN, so that elements that are not written are noticed."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Maps:
    """Arguments of the passes, in one type and layout."""

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
        """Avoid values of u so near a corner that rounding decides on the slope."""
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
        """Return all arguments of a pass, including the optional ones."""
        x, y, dy, p = self.x, self.y, self.dy, self.pivot
        normed = x, p, self.a, self.b
        return {
            "pooled": (*normed, activation),
            "activate": (*normed, self.S, activation),
            "grad_pooled": (dy, *normed, activation, True),
            "grad_activate": (dy, *normed, activation, self.A, self.E, self.K, self.L),
            "moments": (x, p),
            "affine": (x, p, self.A, self.D, self.shortcut, True),
            "grad_scale": (dy, y, x, p),
            "grad_affine": (dy, x, p, self.A, self.E, self.K),
        }[name]


def check(name, *arguments):
    """Compare each result of the pass ``name`` with its plain form."""
    check_draws(name, [arguments])


def check_draws(name, draws):
    """The same of several calls on maps of one shape, by the largest error in any of them."""
    plainly, shape = getattr(eager, name), draws[0][0].shape
    fast, plain, truth, *shaken = zip(
        *(
            [
                _listed(getattr(native, name)(*arguments)),
                _listed(plainly(*arguments)),
                _listed(plainly(*map(_exact, arguments))),
                *(_listed(plainly(*map(_shaken, arguments))) for _ in range(SHAKES)),
            ]
            for arguments in draws
        ),
        strict=True,
    )
    for like, results in zip((arguments[0] for arguments in draws), fast, strict=True):
        for i, result in enumerate(results):
            if result.shape == shape:
                assert (result.dtype, result.stride()) == (like.dtype, like.stride()), (name, i)
            else:
                assert (result.dtype, result.shape) == (torch.float32, shape[:2]), (name, i)
    for i, type_ in enumerate(result.dtype for result in fast[0]):
        f, p, t, *s = (
            torch.stack([results[i] for results in of_draws])
            for of_draws in (fast, plain, truth, *shaken)
        )
        wrong = within_rule(f, p, t, type_, s)
        assert not wrong, f"{name}, result {i}: {wrong}"


def _listed(results):
    return [results] if isinstance(results, torch.Tensor) else list(results)


def check_all(*maps):
    for name in NAMES + ACTIVATED:
        check_draws(name, [m.call(name) for m in maps])


def _exact(argument):
    return argument.double() if _is_of_floats(argument) else argument


def _shaken(argument):
    """Return the argument in float64, each number moved by one rounding of float32."""
    if not _is_of_floats(argument):
        return argument
    signs = torch.randint(2, argument.shape) * 2 - 1
    return argument.double() * (1 + signs * torch.finfo(torch.float32).eps)


def _is_of_floats(argument):
    return isinstance(argument, torch.Tensor) and argument.is_floating_point()


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
        # In a few sums alone the roundings of the plain form may cancel by luck: draw more of them.
        draws = 1 if B * C > 100 else 8
        check_all(*(Maps((B, C, *space), type_, layout) for _ in range(draws)))


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
            check("grad_scale", m.dy, y, m.x, pivot)
        for E, K in product((m.E, None), (m.K, None)):
            check("grad_affine", m.dy, m.x, pivot, m.A, E, K)
    check("grad_affine", m.dy, None, None, m.A, m.E, None)


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
    """Huge numbers, infinities, NaN and corners give what PyTorch gives."""
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


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("type_", TYPES)
def test_the_gradient_of_a_relu_is_pytorchs(instruction_set, type_, layout):
    """Check g for infinite or NaN y and dy, and the sums, since each channel has one number."""
    y, dy, g = _in_channels(corners.of("relu"), type_, layout)
    x = torch.ones_like(y)
    got, S1, S2 = native.grad_scale(dy, y, x, None)
    torch.testing.assert_close(got, g, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(S1, g.float().sum(2), equal_nan=True)
    torch.testing.assert_close(S2, S1, equal_nan=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_activations_are_pytorchs(instruction_set, activation, layout):
    u, dy, du = _in_channels(corners.of(activation), torch.float32, layout)
    one = torch.ones(1, u.shape[1])
    normed = u, None, one[0], 0 * one[0], activation
    dx = native.grad_activate(dy, *normed, one, None, None, None)
    torch.testing.assert_close(dx, du, equal_nan=True)
    dx = native.grad_activate(torch.zeros_like(dy), *normed, one, dy[..., 0], None, None)
    torch.testing.assert_close(dx, du, equal_nan=True)
    S1, S2, *_ = native.grad_pooled(dy, *normed, True)
    torch.testing.assert_close(S1, du.sum(2), equal_nan=True)
    torch.testing.assert_close(S2, (du * u).sum(2), equal_nan=True)


def _in_channels(values, type_, layout):
    """Each number is alone in its channel, three times, so that the sums show its result."""
    maps = (v.to(type_)[None, :, None].expand(1, -1, 3).contiguous() for v in values)
    if layout == "contiguous":
        return tuple(maps)
    return tuple(m.movedim(1, -1).contiguous().movedim(-1, 1) for m in maps)


def test_the_last_digits_of_silu(instruction_set):
    """Within three units in the last place, as far as these are of a normal float."""
    u = torch.cat([torch.linspace(-86, 100, 1 << 18), torch.randn(1 << 16)])[None, None]
    one = torch.ones(1)
    y = native.activate(u, None, one, 0 * one, None, "silu").double()
    exact = torch.nn.functional.silu(u.double())
    digit = torch.finfo(torch.float32).eps * exact.abs() + 1e-37
    assert ((y - exact).abs() / digit).max() < 3


# ----------------------------------------------------------------------- the mask of a ReLU in bits

WITH_WORDS = {
    "contiguous": [
        (2, 3, 16),
        (0, 2, 4, 4),
        (1, 5, 12, 12),
        (3, 67, 4, 4),
        (1, 2, 70_000),
        (2, 1, 272, 16),
    ],
    "channels last": [
        (2, 16, 5),
        (0, 16, 4, 4),
        (3, 48, 7, 7),
        (2, 1504, 3, 3),
        (1, 2064, 5, 5),
        (2, 112, 50, 50),
    ],
}
WITH_WORDS_LAID = [(shape, layout) for layout, shapes in WITH_WORDS.items() for shape in shapes]


def as_bits(y):
    """Return the mask of ``y``, number by number in memory order."""
    numbers = y if y.is_contiguous() else y.movedim(1, -1)
    through = ~(numbers.flatten() <= 0)
    through = torch.nn.functional.pad(through, (0, -len(through) % 8))
    return (through.view(-1, 8) * 2 ** torch.arange(8)).sum(1).to(torch.uint8)


@pytest.mark.parametrize(("shape", "layout"), WITH_WORDS_LAID, ids=str)
@pytest.mark.parametrize("type_", TYPES)
def test_a_mask_in_bits(instruction_set, type_, shape, layout):
    m = Maps(shape, type_, layout)
    x, p, A, D, shortcut, _ = m.call("affine")
    for shortcut in (m.shortcut, None):
        y, bits = torch.ops.senet_native.affine_with_mask(x, p, A, D, shortcut)
        same = native.affine(x, p, A, D, shortcut, True)
        assert torch.equal(y, same)
        assert y.stride() == x.stride()
        assert torch.equal(bits, as_bits(y))
    check("grad_scale", m.dy, bits, x, p)
    for got, wanted in zip(
        native.grad_scale(m.dy, bits, x, p), native.grad_scale(m.dy, y, x, p), strict=True
    ):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("type_", TYPES)
def test_a_mask_in_bits_of_corners(instruction_set, type_):
    """NaN passes; zeros, and numbers that the map's type rounds to zero, do not."""
    nan, inf, tiny = float("nan"), float("inf"), torch.finfo(type_).tiny
    y = [nan, -nan, inf, -inf, 0, -0.0, 1, -1, tiny, -tiny, 1e-40, -1e-40, 1e-9, -1e-9, 2, -2]
    D, one = torch.tensor([y]), torch.ones(1, 16)
    x = torch.zeros(1, 16, 1, dtype=type_)
    out, bits = torch.ops.senet_native.affine_with_mask(x, None, one, D, None)
    assert torch.equal(bits, as_bits(D.to(type_)[..., None].relu()))
    assert torch.equal(bits, as_bits(out))


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mask_in_bits_of_rows_without_whole_words(layout, type_):
    """The passes read the mask of another backend; the operators refuse it."""
    m = Maps((2, 19, 5, 7), type_, layout)
    check("grad_scale", m.dy, as_bits(m.y), m.x, m.pivot)
    with pytest.raises(ValueError, match="must have whole words of 16"):
        torch.ops.senet_native.grad_scale(m.dy, as_bits(m.y), m.x, m.pivot)
    with pytest.raises(ValueError, match="must have whole words of 16"):
        torch.ops.senet_native.affine_with_mask(*m.call("affine")[:-1])


def test_masks_are_kept_in_bits_where_these_are_faster():
    def kept(shape, type_, layout):
        m = Maps(shape, type_, layout)
        return masks.in_bits(native.affine(*m.call("affine"), keep=True)[1])

    assert kept((2, 256, 7, 7), torch.float32, "channels last")
    assert kept((2, 24, 28, 28), torch.float32, "contiguous")
    assert not kept((2, 24, 28, 28), torch.float32, "channels last")
    assert not kept((2, 256, 7, 7), torch.float32, "contiguous")
    assert not kept((2, 256, 7, 7), torch.bfloat16, "channels last")


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
    """A sum in a single float would stop growing at 2^24."""
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
    """A conversion to float and back keeps every bit; NaN stays NaN."""
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
    return [t for r in results for t in _listed(r)]


def test_small_arrays_may_lie_anyhow():
    m = Maps((2, 6, 5, 5), torch.float32, "channels last")
    A = torch.randn(6, 2).T
    D = torch.randn(6).expand(2, 6)
    pivot = torch.randn(12)[::2]
    check("affine", m.x, pivot, A, D, None, True)
    check("grad_affine", m.dy, m.x, pivot, A, D, pivot)
    check("activate", m.x, pivot, pivot, pivot, A, "silu")
    check("grad_pooled", m.dy, m.x, pivot, pivot, pivot, "silu", True)
    check("grad_activate", m.dy, m.x, pivot, pivot, pivot, "silu", A, D, pivot, pivot)


def test_strides_of_dimensions_of_size_1_do_not_matter():
    x = torch.randn(2, 3, 5, 1).as_strided((2, 3, 5, 1), (15, 1, 3, 7))
    dy = torch.randn(2, 3, 5, 1).as_strided((2, 3, 5, 1), (15, 1, 3, 1))
    check("grad_scale", dy, dy, x, None)


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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_opcheck_with_a_mask_in_bits(layout):
    torch.use_deterministic_algorithms(False)
    operators, m = torch.ops.senet_native, Maps((2, 16, 4, 4), torch.float32, layout)
    torch.library.opcheck(operators.affine_with_mask.default, m.call("affine")[:-1])
    torch.library.opcheck(operators.grad_scale.default, (m.dy, as_bits(m.y), m.x, m.pivot))


def test_compiles_in_one_graph():
    def tail(x, dy, A, D, E, K, pivot):
        total, squares = native.moments(x, pivot)
        y = native.affine(x, pivot, A + total, D, x, True)
        g, S1, S2 = native.grad_scale(dy, y, x, pivot)
        dx = native.grad_affine(g, x, pivot, A, E + S1 + S2 + squares, K)
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


def test_operators_refuse_what_c_must_not_be_given():
    """An operator that is called directly raises an error, and does not read other memory."""
    m = Maps((2, 5, 6, 6), torch.float32, "channels last")
    operators = torch.ops.senet_native
    for name in NAMES + ACTIVATED:
        operator, arguments = getattr(operators, name), list(m.call(name))
        operator(*arguments)
        for i, given in enumerate(arguments):
            for wrong in _unlike(given):
                with pytest.raises(ValueError, match=r"expected|must"):
                    operator(*arguments[:i], wrong, *arguments[i + 1 :])
    with pytest.raises(ValueError, match="needs x"):
        operators.grad_affine(m.dy, None, None, m.A, None, m.K)


def _unlike(given):
    """Return invalid replacements of ``given``: too short, too long, of another type."""
    if not isinstance(given, torch.Tensor):
        return []
    if given.dim() > 2:  # of a map alone the channels are held against something
        fewer, more = given[:, :-1], torch.cat([given, given], 1)
        return [
            given.double(),
            *(v.contiguous(memory_format=torch.channels_last) for v in (fewer, more)),
        ]
    return [given.double(), given[..., :-1], torch.cat([given, given], -1), given[:1], given[None]]


# --------------------------------------------------------------------------------- the C library


def test_one_openmp_runtime():
    """There is one OpenMP library, with PyTorch's threads: two would compete for the processors."""
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


def test_touches_nothing_beside_its_arrays():
    """The passes read and write nothing outside their arguments."""
    run = _in_a_process("-m", "tests.ops.guarded")
    assert run.returncode == 0, run.stderr
    assert run.stdout == "nothing else was touched\n"


@pytest.mark.parametrize(("at_end", "beside"), [(True, 64), (False, -1)])
def test_guards_stop_who_touches_them(at_end, beside):
    program = f"x = Guard(at_end={at_end}).copy(torch.ones(16)); print(x.sum(), flush=True)"
    touch = f"import ctypes; ctypes.string_at(x.data_ptr() + {beside}, 1)"
    head = "import torch; from tests.ops.guarded import Guard"
    run = _in_a_process("-c", f"{head}; {program}; {touch}")
    assert (run.stdout, run.returncode) == ("tensor(16.)\n", -signal.SIGSEGV), run.stderr


def _in_a_process(*arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_library_needs_no_runtime_of_its_own():
    """Without OpenMP in the process its symbols are undefined: it was not linked with one."""
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
    with pytest.raises(ValueError, match="was requested by name"), backend.use("native"):
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
    with pytest.raises(ImportError, match=r"other sources.*pip install"):
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
