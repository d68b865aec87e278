"""SE blocks in other people's words: what is believed to be one, and what only looks like it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet.gates.find import se_layers
from senet.graph.trace import UntraceableError, trace
from tests.fuse.blocks import Block, Tutorial


def test_other_gates_are_no_se_block():
    class Spatial(Tutorial):
        def forward(self, x):
            return x * super().forward(x)

    assert se_layers(Tutorial(8)) is not None
    assert se_layers(Spatial(8)) is None
    assert se_layers(nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 8))) is None


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish])
def test_the_activation_between_the_layers_is_read(activation):
    se = Tutorial(8)
    se.fc[1] = activation()
    layers = se_layers(se)
    assert layers is not None
    assert layers.activation == activation.__name__.lower()
    se.fc[1] = nn.GELU()
    assert se_layers(se) is None


def test_one_layer_is_effective_se():
    class Effective(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Conv2d(8, 8, 1)

        def forward(self, x):
            return x * F.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))

    layers = se_layers(Effective())
    assert layers is not None
    assert (layers.paths, layers.gate) == (("fc",), "hardsigmoid")


def test_a_block_that_only_looks_like_se_is_found_out():
    class Sum(nn.Module):
        """The mean of the squares: the same calls but one."""

        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

        def forward(self, x):
            z = x.mean((2,), keepdim=True)[..., :1]
            return x * torch.sigmoid(self.fc2(F.relu(self.fc1(z))))

    assert se_layers(Sum()) is None


def test_a_script_module_has_no_graph():
    with pytest.raises(UntraceableError, match="ScriptModule"):
        trace(torch.jit.trace(Block().eval(), torch.randn(1, 16, 5, 5)))
