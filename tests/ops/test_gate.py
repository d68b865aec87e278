"""A whole tail in inference, against its four steps in plain PyTorch."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from senet.ops import backend
from senet.ops.activation import ACTIVATIONS
from senet.ops.gate import GATES, Gate, gated_tail, gates_of, rescale
from senet.ops.norm import Norm
from tests.oracle import within_rule

BACKENDS = ["eager"] + ["native"] * (not backend.missing("native"))
SHAPES = [(1, 16, 7, 7), (3, 70, 5, 3), (9, 32, 1, 1), (5, 256, 4, 4), (2, 24, 11)]


def layers(C: int, two: bool, bias: bool, activation: str, function: str) -> Gate:
    R = max(C // 4, 1)
    return Gate(
        torch.randn(R, C) / C**0.5 if two else None,
        torch.randn(R) if two and bias else None,
        activation,
        torch.randn(C, R if two else C) / (R if two else C) ** 0.5,
        torch.randn(C) if bias else None,
        function,
    )


def plain(x, norm, activation, gate, shortcut, relu):
    """Run the steps of the paper."""
    u = x
    if norm is not None:
        u = F.batch_norm(x, *norm[:4], training=False, eps=norm.eps)
    if activation is not None:
        u = ACTIVATIONS[activation].function(u)
    z = u.flatten(2).mean(2)
    if gate.first is not None:
        z = ACTIVATIONS[gate.activation].function(F.linear(z, gate.first, gate.first_bias))
    s = GATES[gate.function](F.linear(z, gate.second, gate.second_bias))
    y = u * s.reshape(s.shape + (1,) * (x.dim() - 2))
    y = y if shortcut is None else y + shortcut
    return y.relu() if relu else y


def wide(value):
    if isinstance(value, Tensor):
        return value.double()
    return type(value)(*map(wide, value)) if isinstance(value, (Norm, Gate)) else value


@pytest.mark.parametrize("backend_name", BACKENDS)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("function", GATES)
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
@pytest.mark.parametrize("two", [False, True], ids=["one_layer", "two_layers"])
def test_a_whole_tail_is_within_the_rule(two, activation, function, last, backend_name):
    with backend.use(backend_name):
        check_a_whole_tail(two, activation, function, last)


def check_a_whole_tail(two: bool, activation: str | None, function: str, last: bool) -> None:
    for number, shape in enumerate(SHAPES):
        C = shape[1]
        x = torch.randn(shape)
        if last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        gate = layers(C, two, bool(number % 2), list(ACTIVATIONS)[number % 4], function)
        vectors = torch.randn(C), torch.rand(C) + 0.5, torch.randn(C), torch.randn(C)
        norm = Norm(*vectors, eps=0.1) if number % 3 else None
        shortcut = torch.randn_like(x) if activation is None and number % 2 else None
        given = x, norm, activation, gate, shortcut, shortcut is not None
        truth = plain(*map(wide, given))
        y = gated_tail(*given)
        assert y.stride() == x.stride()
        wrong = within_rule(y, plain(*given), truth, torch.float32)
        assert wrong is None, (shape, wrong)


@pytest.mark.parametrize("type_", [torch.bfloat16, torch.float16])
def test_maps_of_a_shorter_type_with_weights_of_that_type(type_):
    x, shortcut = torch.randn(2, 3, 32, 6, 6).to(type_)
    gate = Gate(
        *(
            v.to(type_) if isinstance(v, Tensor) else v
            for v in layers(32, True, True, "relu", "sigmoid")
        )
    )
    given = x, None, None, gate, shortcut, True
    y = gated_tail(*given)
    assert y.dtype == type_
    wrong = within_rule(y, plain(*given), plain(*map(wide, given)), type_)
    assert wrong is None, wrong


def test_weights_of_convolutions_are_taken_as_they_are():
    gate = layers(16, True, True, "relu", "sigmoid")
    x = torch.randn(2, 16, 5, 5)
    first, second = (w[..., None, None] for w in (gate.first, gate.second))
    as_convolutions = gate._replace(first=first, second=second)
    assert torch.equal(gated_tail(x, None, None, as_convolutions), gated_tail(x, None, None, gate))


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_a_known_mean_is_used(backend_name):
    with backend.use(backend_name):
        check_a_known_mean()


def check_a_known_mean() -> None:
    x, gate = torch.randn(2, 16, 5, 5), layers(16, True, True, "relu", "sigmoid")
    norm = Norm(torch.randn(16), torch.rand(16) + 0.5, torch.randn(16), torch.randn(16))
    known = gated_tail(x, norm, None, gate, mean=x.mean((2, 3)))
    torch.testing.assert_close(known, gated_tail(x, norm, None, gate))
    other = gated_tail(x, norm, None, gate, mean=torch.ones(2, 16))
    assert not torch.allclose(other, known)


@pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))
def test_the_map_is_overwritten_where_allowed():
    x, gate = torch.randn(2, 16, 5, 5), layers(16, True, True, "relu", "sigmoid")
    whole = gated_tail(x, None, None, gate)
    y = gated_tail(x, None, None, gate, inplace=True)
    assert y is x
    torch.testing.assert_close(y, whole)


@pytest.mark.parametrize("backend_name", BACKENDS)
@pytest.mark.parametrize("two", [False, True], ids=["one_layer", "two_layers"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_gate_is_known_before_the_convolution(bias, two, backend_name):
    h, W, b = torch.randn(3, 8, 5, 5), torch.randn(32, 8), torch.randn(32) if bias else None
    gate = layers(32, two, bias, "silu", "sigmoid")
    u = F.conv2d(h, W[..., None, None], b)
    with backend.use(backend_name):
        early = gates_of(h, gate.before(W, b))
        late = gates_of(u, gate)
        torch.testing.assert_close(early, late, rtol=1e-5, atol=1e-6)
        y = rescale(u, early, u, relu=True)
    torch.testing.assert_close(y, (u * late[..., None, None] + u).relu(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_nan_and_infinity_reach_the_gates(backend_name):
    gate = Gate(None, None, "relu", torch.eye(3), None, "sigmoid")
    hard = gate._replace(function="hardsigmoid")
    x = torch.tensor([[[float("nan")], [float("inf")], [1.0]]])
    with backend.use(backend_name):
        for g in (gate, hard):
            torch.testing.assert_close(
                gated_tail(x, None, None, g), plain(x, None, None, g, None, False), equal_nan=True
            )


@pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))
@pytest.mark.parametrize("part", ["first", "first_bias", "second", "second_bias"])
def test_a_length_that_does_not_fit_is_refused_before_c_reads_it(part):
    gate = layers(16, True, True, "relu", "sigmoid")
    wrong = gate._replace(**{part: getattr(gate, part)[:-1]})
    with pytest.raises((ValueError, RuntimeError)):
        gated_tail(torch.randn(2, 16, 5, 5), None, None, wrong)
