"""SE blocks in other people's code: what is recognised, and what only looks like one."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from senet.gates import gates_of, is_attention, se_layers
from tests.fuse.blocks import Tutorial


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
        """A block on the mean of the squares, which differs in one call."""

        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

        def forward(self, x):
            z = x.mean((2,), keepdim=True)[..., :1]
            return x * torch.sigmoid(self.fc2(F.relu(self.fc1(z))))

    assert se_layers(Sum()) is None


def test_weights_that_a_block_happens_to_have_prove_nothing():
    """With zeros in the last layer, gates are constants, whatever they are made from."""

    class Rows(nn.Module):
        """A block on the first column of the mean over rows, which is not equation 2."""

        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

        def forward(self, x):
            z = x.mean((2,), keepdim=True)[..., :1]
            return x * torch.sigmoid(self.fc2(F.relu(self.fc1(z))))

    class Positions(nn.Module):
        """A block in which every position gates itself."""

        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

        def forward(self, x):
            return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x))))

    right, rows, positions = Tutorial(8), Rows(), Positions()
    for block in (right, rows, positions):
        layers = [m for m in block.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        for parameter in layers[1].parameters():
            nn.init.zeros_(parameter)
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(rows(x), x / 2)  # as equations 2 to 4 with these weights
    assert se_layers(rows) is None
    assert is_attention(rows)  # attention of another kind: one number per channel
    assert not is_attention(positions)
    assert se_layers(right) is not None


class Counting(Tutorial):
    """SE that counts its calls in a buffer."""

    def __init__(self):
        super().__init__(8)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen += 1
        return super().forward(x)


@pytest.mark.parametrize("kind", ["plain", "half", "shared", "parametrized", "pruned"])
def test_a_trial_leaves_no_trace(kind):
    block = Counting()
    if kind == "half":
        block.half()
    elif kind == "shared":
        block.again = block.fc[0]
    elif kind == "parametrized":
        nn.utils.parametrizations.weight_norm(block.fc[0])
    elif kind == "pruned":
        prune.random_unstructured(block.fc[0], "weight", 0.5)
    parameters, held = list(block.parameters()), [dict(vars(m)) for m in block.modules()]
    before = {k: v.clone() for k, v in block.state_dict().items()}
    versions = [p._version for p in parameters]
    assert is_attention(block)
    assert all(a is b for a, b in zip(parameters, block.parameters(), strict=True))
    assert [p._version for p in parameters] == versions
    assert all(torch.equal(v, before[k]) for k, v in block.state_dict().items())
    for m, was in zip(block.modules(), held, strict=True):
        assert vars(m).keys() == was.keys()
        assert all(vars(m)[k] is was[k] for k in was)
    assert block.training


def unpacked(self, x):
    z = x.flatten(2).mean(2)
    return x * self.fc(z).view(*z.shape, *[1] * (x.dim() - 2))


def of_ndim(self, x):
    s = self.fc(x.flatten(2).mean(2))
    return x * s.reshape(s.shape + (1,) * (x.ndim - 2))


def checked(self, x):
    assert x.shape[1] == 8
    if x.dim() != 4:
        raise ValueError("images alone")
    z = x.mean((2, 3))
    return x * self.fc(z).view(*z.size(), 1, 1)


def pooled(self, x):
    z = F.avg_pool2d(x, x.shape[2:]).flatten(1)
    return x * self.fc(z)[..., None, None]


@pytest.mark.parametrize("forward", [unpacked, of_ndim, checked, pooled])
def test_shapes_may_be_unpacked_and_checked(forward):
    se = type("Block", (Tutorial,), {"forward": forward})(8).train()
    before = dict(vars(se))
    assert se_layers(se) is not None
    gates = gates_of(se)
    assert gates is not None
    x = torch.randn(3, 8, 7, 6)
    torch.testing.assert_close(x * gates(x).view(3, 8, 1, 1), se(x))
    assert vars(se) == before


def test_a_branch_on_the_size_of_the_map_is_no_gate():
    class Branching(Tutorial):
        def forward(self, x):
            return super().forward(x) if x.shape[2] > 4 else x

    assert gates_of(Branching(8)) is None
    assert se_layers(Branching(8)) is None
