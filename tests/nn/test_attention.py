"""What every block that stands for SE must do, whatever it computes."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet.nn import (
    Attention,
    ConcurrentSqueezeExcitation,
    EffectiveSqueezeExcitation,
    EfficientChannelAttention,
    GatherExcite,
    SqueezeExcitation,
    norm_act,
)
from senet.ops import backend

BLOCKS = {
    "se": SqueezeExcitation,
    "se, no squeeze": partial(SqueezeExcitation, squeeze="none"),
    "eca": EfficientChannelAttention,
    "ese": EffectiveSqueezeExcitation,
    "scse": ConcurrentSqueezeExcitation,
    "scse, max": partial(ConcurrentSqueezeExcitation, combine="max"),
    "ge": GatherExcite,
    "ge, extent 2": partial(GatherExcite, extent=2),
}


@pytest.fixture(params=BLOCKS)
def block(request) -> Attention:
    return BLOCKS[request.param](32)


def gradients(function, x, *modules):
    """What ``function`` makes of ``x``, and what flows back to it and to the parameters."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = function(x)
    parameters = [p for module in modules for p in module.parameters()]
    sent = torch.linspace(-1, 1, y.numel()).reshape(y.shape).to(y.dtype)
    return [y, *torch.autograd.grad(y, [x, *parameters], sent)]


@pytest.mark.parametrize("space", [(7,), (5, 7), (3, 5, 7), (1, 1)], ids=str)
def test_any_space_and_its_gradients(block, space):
    u = torch.randn(2, 32, *space)
    for value in gradients(block, u, block):
        assert value.isfinite().all()
    assert block(u).shape == u.shape


def test_each_image_is_gated_by_itself(block):
    u = torch.randn(3, 32, 5, 7)
    torch.testing.assert_close(block(u)[1:2], block(u[1:2]))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_it_stands_in_the_tail_of_a_residual_branch(block, training):
    bn = nn.BatchNorm2d(32).train(training)
    nn.init.uniform_(bn.weight, 0.5, 1.5)
    nn.init.normal_(bn.bias)
    other = copy.deepcopy(bn)
    x, shortcut = torch.randn(2, 32, 5, 5), torch.randn(2, 32, 5, 5)
    fused = gradients(lambda x: norm_act(x, bn, block, shortcut), x, bn, block)
    with backend.use("eager"):
        plain = gradients(lambda x: F.relu(block(other(x)) + shortcut), x, other, block)
    for got, wanted in zip(fused, plain, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    for key, value in other.state_dict().items():
        torch.testing.assert_close(bn.state_dict()[key], value)


@pytest.mark.parametrize("type_", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_autocast_keeps_the_type_of_the_map(block, type_):
    u = torch.randn(2, 32, 5, 5).to(type_)
    with torch.autocast("cpu", torch.bfloat16):
        values = gradients(block, u, block)
    assert values[0].dtype == values[1].dtype == type_
    assert all(value.isfinite().all() for value in values)
    # The gates are in (0, 1); three roundings of bfloat16 on the way to them, and one in the map.
    wanted = block(u.float())
    assert (values[0] - wanted).abs().max() <= 4 * torch.finfo(torch.bfloat16).eps * u.abs().max()


def test_large_half_maps_stay_finite(block):
    u = torch.full((1, 32, 56, 56), 3e4, dtype=torch.float16)
    with torch.autocast("cpu", torch.float16):
        assert block(u).isfinite().all()


def test_channels_last_stays_channels_last(block):
    u = torch.randn(2, 32, 5, 5)
    rows = u.to(memory_format=torch.channels_last)
    wanted, got = gradients(block, u, block), gradients(block, rows, block)
    assert got[0].is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_empty_batches(block):
    assert block(torch.randn(0, 32, 5, 5)).shape == (0, 32, 5, 5)


def test_the_gate_is_what_is_watched(block):
    seen = []
    block.gate.register_forward_hook(lambda module, inputs, s: seen.append(s))
    u = torch.randn(2, 32, 5, 5)
    block(u)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], block.gates(u))
    assert seen[0].shape in ((2, 32), u.shape)


def test_it_exports_as_plain_pytorch_with_a_dynamic_batch(block):
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(block, (torch.randn(2, 32, 5, 5),), dynamic_shapes=[{0: batch}])
    u = torch.randn(7, 32, 5, 5)
    torch.testing.assert_close(program.module()(u), block(u))
    assert not any("senet" in str(node.target) for node in program.graph.nodes)
