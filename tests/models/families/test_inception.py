"""What the Inception networks share: branches side by side, and attention after them."""

import torch
from torch import nn

from senet.models import create_model
from senet.models.families.inception import Branches, Conv, Inception

TABLE = {
    "1x1": [Conv(2)],
    "3x3": [Conv(4), Conv(6, 3)],
    "fork": [{"1x3": [Conv(3, (1, 3))], "3x1": [Conv(5, (3, 1))]}],
    "pool": [nn.Identity],
}


def test_branches_stand_in_the_order_of_the_table():
    branches = Branches(8, TABLE, eps=1e-3).eval()
    x = torch.randn(2, 8, 5, 7)
    y = branches(x)
    assert branches.outputs == y.shape[1] == 2 + 6 + (3 + 5) + 8
    assert y.shape[2:] == x.shape[2:]
    assert torch.equal(y[:, :2], branches["1x1"](x))
    assert torch.equal(y[:, 2:8], branches["3x3"](x))
    assert torch.equal(y[:, 16:], x)
    assert {m.eps for m in branches.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def test_attention_sees_the_branches_together():
    class Gate(nn.Module):
        def forward(self, x):
            self.seen = x
            return 0.5 * x

    gate = Gate()
    asked = []
    module = Inception(8, TABLE, 3, lambda *where: asked.append(where) or gate, eps=1e-3).eval()
    x = torch.randn(2, 8, 5, 7)
    y = module(x)
    assert asked == [(24, 3)]
    assert torch.equal(gate.seen, module.branches(x))
    assert torch.equal(y, 0.5 * gate.seen)


def test_dropout_is_of_training_alone():
    model = create_model("inception_v3", dropout=1.0, num_classes=3)
    x = torch.randn(2, 2048, 2, 2)
    assert torch.equal(model.train().classify(x), model.fc.bias.expand(2, -1))
    assert not torch.equal(model.eval().classify(x), model.fc.bias.expand(2, -1))
