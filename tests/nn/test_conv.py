"""The unit of convolution, batch norm and activation, with SE before or after the last."""

import copy

import pytest
import torch
from torch import nn

from senet import SqueezeExcitation
from senet.nn import ConvNormAct
from senet.ops import backend

ACTIVATIONS = [None, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.ELU]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("parts", ["", "se", "shortcut", "se_after", "se shortcut se_after"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_is_its_parts_in_order(activation, parts, training):
    unit = ConvNormAct(4, 8, 3, activation=activation).train(training)
    other = copy.deepcopy(unit)
    given = {
        "se": SqueezeExcitation(8, 2),
        "shortcut": torch.randn(2, 8, 6, 6),
        "se_after": SqueezeExcitation(8, 2),
    }
    given = {name: part for name, part in given.items() if name in parts.split()}
    x = torch.randn(2, 4, 6, 6)
    y = unit(x, **given)
    with backend.use("eager"):
        u = other.bn(other.conv(x))
        u = given.get("se", nn.Identity())(u) + given.get("shortcut", 0)
        wanted = given.get("se_after", nn.Identity())(other.activation(u))
    torch.testing.assert_close(y, wanted)
    for a, b in zip(unit.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b)
