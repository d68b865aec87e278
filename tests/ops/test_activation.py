"""Values and gradients are those of PyTorch, also at corners, infinities and NaN."""

import pytest
import torch
from torch.nn import functional as F

from senet.ops.activation import ACTIVATIONS
from tests.ops import corners

CORNERS = torch.tensor([-3.0, -0.0, 0.0, 3.0, 6.0])


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("type_", [torch.float32, torch.float64], ids=str)
def test_values_and_slopes_are_pytorchs(name, type_):
    u = torch.cat([CORNERS, torch.randn(1000) * 5]).to(type_).requires_grad_()
    wanted = getattr(F, name)(u)
    torch.testing.assert_close(ACTIVATIONS[name].function(u), wanted, rtol=0, atol=0)
    (slope,) = torch.autograd.grad(wanted.sum(), u)
    torch.testing.assert_close(ACTIVATIONS[name].slope(u.detach()), slope)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_are_pytorchs_where_they_are_not_finite(name):
    u, dy, du = corners.of(name)
    torch.testing.assert_close(ACTIVATIONS[name].backward(dy, u), du, equal_nan=True)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_have_gradients(name):
    u = (torch.randn(50, dtype=torch.float64) * 3).requires_grad_()
    dy = torch.randn(50, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ACTIVATIONS[name].backward, (dy, u))
