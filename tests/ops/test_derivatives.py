"""The algebra of both pairs by finite differences, in float64: first and second derivatives."""

import pytest
import torch

from senet.ops import backend
from senet.ops.activation import ACTIVATIONS
from tests.ops.parts import GATES
from tests.ops.test_activated import MODES, Unit
from tests.ops.test_tail import ROWS, Tail


@pytest.fixture(autouse=True)
def _plain_passes():
    """Return the backends that support float64."""
    with backend.use("eager"):
        yield


def differentiated(case, check):
    inputs = {k: t.double().requires_grad_() for k, t in case.inputs.items()}
    return check(
        lambda *values: case.fast(dict(zip(inputs, values, strict=True))), list(inputs.values())
    )


@MODES
@pytest.mark.parametrize("gate", GATES)
def test_every_gate(gate, training):
    tail = Tail("norm + SE + shortcut", (3, 4, 2, 2), training, gate, layout="first")
    assert differentiated(tail, torch.autograd.gradcheck)
    unit = Unit("silu", (3, 4, 2, 2), training, gate=gate, layout="first")
    assert differentiated(unit, torch.autograd.gradcheck)


@MODES
@pytest.mark.parametrize("gate", ["SiLU inside", None], ids=["SE", "no SE"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation, gate, training):
    unit = Unit(activation, (3, 4, 2, 2), training, gate=gate, layout="first")
    assert differentiated(unit, torch.autograd.gradcheck)


@MODES
@pytest.mark.parametrize("row", ROWS)
def test_second_derivatives(row, training):
    tail = Tail(row, (2, 3, 2, 2), training, "SiLU inside", layout="first")
    assert differentiated(tail, torch.autograd.gradgradcheck)


@MODES
@pytest.mark.parametrize("gate", ["SiLU inside", None], ids=["SE", "no SE"])
@pytest.mark.parametrize("activation", ["silu", "relu6"])
def test_second_derivatives_with_an_activation(activation, gate, training):
    unit = Unit(activation, (2, 3, 2, 2), training, gate=gate, layout="first")
    assert differentiated(unit, torch.autograd.gradgradcheck)
