"""The record of a forward pass: the maker of each map, and its readers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet.graph.flow import flow_of


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.unit = nn.Conv2d(3, 4, 1), nn.Sequential(nn.Sigmoid(), nn.Tanh())

    def forward(self, x):
        u = self.conv(x)
        u += 1
        y = self.unit(F.relu(u, inplace=True))
        return {"sum": y + u.detach(), "map": y}


def test_calls_in_order_and_what_changes_in_place():
    model = Net()
    flow = flow_of(model, torch.ones(1, 3, 2, 2), [model.unit])
    assert [str(call) for call in flow.calls] == [
        "conv2d", "add", "relu", "Sequential", "detach", "add",
    ]  # fmt: skip
    conv, plus, relu, unit, detached, total = flow.calls
    assert plus.inputs[0] is conv.outputs[0]
    assert relu.inputs[0] is plus.outputs[0]
    assert relu.outputs[0] is not plus.outputs[0]  # the same tensor, another value
    assert relu.outputs[0].tensor is conv.outputs[0].tensor
    assert relu.outputs[0].users == [unit, detached]
    assert unit.outputs[0].users == [total]
    assert unit.outputs[0].returned
    assert not relu.outputs[0].returned
    assert flow.calls_of(model.unit) == [unit]
    assert flow.value(model.conv.weight).users == [conv]
    assert conv.outputs[0].maker is conv


def test_a_unit_within_a_unit_is_not_seen():
    model = Net()
    flow = flow_of(model, torch.ones(1, 3, 2, 2), [model.unit, model.unit[0]])
    assert [str(call) for call in flow.calls] == [
        "conv2d", "add", "relu", "Sequential", "detach", "add",
    ]  # fmt: skip


def test_an_accelerated_network_is_seen_as_it_was_written():
    from senet import accelerate, create_model

    model = create_model("se_resnet8_cifar").eval()
    accelerate(model)
    flow = flow_of(model, torch.randn(1, 3, 32, 32))
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert len(flow.calls_of(F.batch_norm)) == norms


def test_the_hooks_are_gone_after_an_error():
    model = nn.Sequential(nn.Sigmoid(), nn.Conv2d(3, 4, 1))
    with pytest.raises(RuntimeError):
        flow_of(model, torch.ones(1, 5, 2, 2), model)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model)
