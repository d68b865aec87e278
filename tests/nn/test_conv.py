"""The unit of convolution, batch norm and activation."""

import copy

import pytest
import torch
from torch import nn

from senet.nn import ConvNormAct

ACTIVATIONS = [None, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.ELU]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_is_its_parts_in_order(activation, training):
    unit = ConvNormAct(4, 8, 3, activation=activation).train(training)
    other = copy.deepcopy(unit)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(unit(x), nn.Sequential(*other.children())(x))
    assert [type(part) for part in unit.children()] == [
        nn.Conv2d, nn.BatchNorm2d, activation or nn.Identity,
    ]  # fmt: skip
    for a, b in zip(unit.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_map_that_somebody_holds_is_not_overwritten():
    unit, held = ConvNormAct(4, 8, 3), []
    unit.bn.register_forward_hook(lambda module, inputs, output: held.append(output))
    unit(torch.randn(2, 4, 6, 6))
    assert held[0].min() < 0


@pytest.mark.parametrize("part", ["conv", "bn", "activation"])
def test_hooks_on_gradients_reach_every_part(part):
    unit, seen = ConvNormAct(4, 8, 3), []
    unit.get_submodule(part).register_full_backward_hook(lambda *given: seen.append(given))
    unit(torch.randn(2, 4, 6, 6, requires_grad=True)).sum().backward()
    assert len(seen) == 1
