"""Pointwise convolutions with SE inside, in C, against their steps in plain PyTorch."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from senet.ops.activation import ACTIVATIONS
from senet.ops.gate import GATES, Gate
from tests.oracle import within_rule

native = pytest.importorskip("senet.ops.native", exc_type=ImportError)
pointwise = pytest.importorskip("senet.ops.native.pointwise", exc_type=ImportError)

LAST = torch.channels_last
# Images, channels before and after, height and width: fewer rows than a tile, single channels,
# channels that do not fill the last 64, images that end within a tile, more rows than a chunk.
SHAPES = [
    (1, 1, 1, 1, 1),
    (2, 3, 5, 1, 1),
    (7, 16, 64, 1, 3),
    (1, 70, 65, 2, 2),
    (3, 8, 130, 5, 5),
    (2, 33, 128, 15, 14),
    (1, 64, 256, 17, 13),
]
HAS_BFLOAT16 = pointwise.takes(torch.empty(2, 2, 1, 1, dtype=torch.bfloat16))
needs_bfloat16 = pytest.mark.skipif(
    not HAS_BFLOAT16, reason="the processor does not multiply numbers of bfloat16"
)


@pytest.fixture(autouse=True)
def _poisoned():
    """Fill new memory with NaN, so that numbers that are not written are noticed."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def layers(inputs: int, outputs: int, two: bool, activation: str, function: str) -> Gate:
    R = max(inputs // 2, 1) if two else inputs
    return Gate(
        torch.randn(R, inputs) / inputs**0.5 if two else None,
        torch.randn(R) if two else None,
        activation,
        torch.randn(outputs, R) / R**0.5,
        torch.randn(outputs),
        function,
    )


def plain(h, weight, bias, activation, gate, of_inputs, shortcut):
    """Run the steps."""
    s = 1 if gate is None else gates(h, gate)
    y = F.conv2d(s * h, weight, bias) if of_inputs else s * F.conv2d(h, weight, bias)
    y = y if shortcut is None else y + shortcut
    return y if activation is None else ACTIVATIONS[activation].function(y)


def gates(h: Tensor, gate: Gate) -> Tensor:
    z = h.mean((2, 3))
    if gate.first is not None:
        z = ACTIVATIONS[gate.activation].function(F.linear(z, gate.first, gate.first_bias))
    s = GATES[gate.function](F.linear(z, gate.second, gate.second_bias))
    return s[:, :, None, None]


def cast(values: Any, dtype: torch.dtype) -> Any:
    """Return the values with all tensors among them of another type."""
    return tree_map(lambda v: v.to(dtype) if isinstance(v, Tensor) else v, values)


def check_all(dtype: torch.dtype = torch.float32) -> None:
    """Check every form of the convolution on every shape."""
    gated = [(None, False), *itertools.product((False, True), (False, True))]
    forms = itertools.product((None, *ACTIVATIONS), gated, (False, True))
    even = [shape for shape in SHAPES if dtype == torch.float32 or shape[1] % 2 == 0]
    shapes = itertools.cycle(even)
    functions = itertools.cycle(GATES)
    for activation, (two, of_inputs), add in forms:
        for _ in range(3):
            check(next(shapes), activation, two, of_inputs, add, next(functions), dtype)


def check(shape, activation, two, of_inputs, add, function, dtype) -> None:
    B, K, C, H, W = shape
    h = torch.randn(B, K, H, W).contiguous(memory_format=LAST)
    weight, bias = torch.randn(C, K, 1, 1) / K**0.5, torch.randn(C) if C % 2 else None
    shortcut = torch.randn(B, C, H, W).contiguous(memory_format=LAST) if add else None
    gate = None if two is None else layers(K, K if of_inputs else C, two, "silu", function)
    given = cast((h, weight, bias, activation, gate, of_inputs, shortcut), dtype)
    h, weight, bias, *_, gate, _, shortcut = given
    truth, expected = plain(*cast(given, torch.float64)), plain(*given)
    call = pointwise.Pointwise(weight, bias, activation, gate, of_inputs)
    kept = None if shortcut is None else shortcut.clone()
    y = call(h, shortcut, False)
    wrong = within_rule(y, expected, truth, dtype)
    assert wrong is None, (shape, activation, two, of_inputs, add, wrong)
    if shortcut is not None:
        assert torch.equal(shortcut, kept)
        assert call(h, shortcut, True) is shortcut
        assert torch.equal(shortcut, y)


def test_every_form_is_within_the_rule(instruction_set):
    check_all()


@needs_bfloat16
def test_every_form_in_bfloat16_is_within_the_rule():
    check_all(torch.bfloat16)


@needs_bfloat16
def test_in_bfloat16_channels_go_in_pairs():
    assert pointwise.takes(torch.empty(3, 4, 1, 1, dtype=torch.bfloat16))
    assert not pointwise.takes(torch.empty(3, 5, 1, 1, dtype=torch.bfloat16))


def test_types_without_a_kernel_are_not_taken(instruction_set):
    assert pointwise.takes(torch.empty(3, 5, 1, 1))
    assert not pointwise.takes(torch.empty(3, 4, 1, 1, dtype=torch.float16))
    assert not pointwise.takes(torch.empty(3, 4, 1, 1, dtype=torch.float64))
    if instruction_set != "avx512":
        assert not pointwise.takes(torch.empty(3, 4, 1, 1, dtype=torch.bfloat16))


def test_the_number_of_threads_changes_nothing():
    h = torch.randn(2, 64, 24, 24).contiguous(memory_format=LAST)
    few = torch.randn(1, 256, 3, 3).contiguous(memory_format=LAST)
    of = pointwise.Pointwise(
        torch.randn(192, 64, 1, 1), None, None, layers(64, 192, True, "relu", "sigmoid")
    )
    of_few = pointwise.Pointwise(torch.randn(320, 256, 1, 1), torch.randn(320), "relu")
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        results.append((of(h, None, False), of_few(few, None, False)))
    torch.set_num_threads(before)
    for y, z in results:
        assert torch.equal(y, results[0][0])
        assert torch.equal(z, results[0][1])


def test_maps_of_another_layout_are_copied():
    h, shortcut = torch.randn(2, 8, 5, 4), torch.randn(2, 16, 5, 4)
    weight, kept = torch.randn(16, 8, 1, 1), shortcut.clone()
    y = pointwise.Pointwise(weight, None, None)(h, shortcut, False)
    torch.testing.assert_close(y, F.conv2d(h, weight) + shortcut)
    assert torch.equal(shortcut, kept)


@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
def test_nan_and_infinity_stay(activation):
    h = torch.zeros(1, 2, 1, 3).contiguous(memory_format=LAST)
    h[0, 0, 0, 0], h[0, 0, 0, 1] = torch.nan, torch.inf
    weight = torch.tensor([1.0, 0.0])[None, :, None, None]
    y = pointwise.Pointwise(weight, None, activation)(h, None, False)
    expected = plain(h, weight, None, activation, None, False, None)
    torch.testing.assert_close(y, expected, equal_nan=True)
    gate = Gate(None, None, "relu", torch.tensor([[1.0, 0.0]]), None, "sigmoid")
    assert pointwise.Pointwise(weight, None, None, gate)(h, None, False)[0, 0, 0, 2].isnan()
