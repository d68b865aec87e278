"""What every block that can replace SE must do, whatever it computes."""

import copy
import io
import operator
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from senet.nn import (
    ChannelAttention,
    ConcurrentSqueezeExcitation,
    EffectiveSqueezeExcitation,
    EfficientChannelAttention,
    GatherExcite,
    SqueezeExcitation,
)

BLOCKS = {
    "se": SqueezeExcitation,
    "se, max": partial(SqueezeExcitation, reduction=2, squeeze="max"),
    "se, no squeeze": partial(SqueezeExcitation, squeeze="none"),
    "se, scaled": partial(SqueezeExcitation, gate="scaled_sigmoid"),
    "eca": EfficientChannelAttention,
    "ese": EffectiveSqueezeExcitation,
    "scse": ConcurrentSqueezeExcitation,
    "scse, max": partial(ConcurrentSqueezeExcitation, combine="max"),
    "ge": GatherExcite,
    "ge, extent 2": partial(GatherExcite, extent=2),
}


@pytest.fixture(params=BLOCKS)
def block(request) -> ChannelAttention:
    return BLOCKS[request.param](32)


def gradients(function, x, *modules):
    """Return ``function(x)``, and the gradients of ``x`` and of the parameters."""
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


def test_a_block_of_another_type_than_the_map_does_the_same_at_every_size(block):
    """As in plain PyTorch, layers refuse the map, and a block without layers takes it."""
    for side in (64, 8, 1):
        u = torch.randn(1, 32, side, side).bfloat16()
        if isinstance(block, GatherExcite):
            assert block(u).dtype == u.dtype
        else:
            with pytest.raises(RuntimeError, match=r"same|Mismatched"):
                block(u)


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
    torch.testing.assert_close(seen[0].flatten(1), block.gates(u).flatten(1))
    assert block.gates(u).shape in ((2, 32), u.shape)


# --- every module is called -----------------------------------------------------------------------


class Wrapped(nn.Module):
    """An adapter: a module that wraps the old one in its place."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return 0.5 * self.inner(x) - 0.1


def wrap(block, path):
    parent, _, name = path.rpartition(".")
    setattr(block.get_submodule(parent), name, Wrapped(block.get_submodule(path)))


EDITS = {
    "hook on output": lambda block, path: block.get_submodule(path).register_forward_hook(
        lambda module, inputs, output: 0.5 * output - 0.1
    ),
    "hook on input": lambda block, path: block.get_submodule(path).register_forward_pre_hook(
        lambda module, inputs: (0.5 * inputs[0] - 0.1,)
    ),
    "wrapper": wrap,
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_any_submodule_has_its_effect(block, edit):
    u = torch.randn(2, 32, 5, 5)
    before = block(u)
    for path in [name for name, _ in block.named_modules() if name]:
        edited = copy.deepcopy(block)
        EDITS[edit](edited, path)
        assert not torch.allclose(edited(u), before), path


def test_hooks_on_the_gradients_of_any_submodule_have_their_effect(block):
    u = torch.randn(2, 32, 5, 5)
    for path in [name for name, _ in block.named_modules() if name]:
        edited = copy.deepcopy(block)
        edited.get_submodule(path).register_full_backward_hook(
            lambda module, into, out: tuple(None if g is None else 3 * g for g in into)
        )
        before, after = gradients(block, u), gradients(edited, u)
        assert torch.equal(before[0], after[0])
        assert not torch.allclose(before[1], after[1]), path


def test_pruned_and_parametrised_layers_compute_what_they_say(block):
    u = torch.randn(2, 32, 5, 5)
    for path in [p for p, m in block.named_modules() if isinstance(m, nn.Conv1d | nn.Conv2d)]:
        pruned, other = copy.deepcopy(block), copy.deepcopy(block)
        prune.l1_unstructured(pruned.get_submodule(path), "weight", 0.5)
        with torch.no_grad():
            pruned.get_submodule(path).weight_orig.mul_(1.5)  # the mask is applied anew
            other.get_submodule(path).weight.mul_(1.5 * pruned.get_submodule(path).weight_mask)
        torch.testing.assert_close(pruned(u), other(u))
        normed = copy.deepcopy(block)
        parametrizations.weight_norm(normed.get_submodule(path))
        torch.testing.assert_close(normed(u), block(u))
        with torch.no_grad():
            normed.get_submodule(path).parametrizations.weight.original0.mul_(2)
        assert not torch.allclose(normed(u), block(u)), path


# --- what reads a module instead of running it ----------------------------------------------------


@pytest.mark.parametrize("space", [(7,), (5, 7), (3, 5, 7)], ids=str)
def test_torchscript_and_tracing(block, space):
    u = torch.randn(2, 32, *space)
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(block), file)
    file.seek(0)
    for form in (torch.jit.load(file), torch.jit.trace(block, u)):
        torch.testing.assert_close(form(u), block(u))


@pytest.mark.parametrize("space", [(7,), (5, 7), (3, 5, 7)], ids=str)
def test_symbolic_tracing_shows_the_steps_of_the_paper(block, space):
    without_mask = {"mask": None} if isinstance(block, SqueezeExcitation) else None
    graph = torch.fx.symbolic_trace(block, without_mask)
    u = torch.randn(2, 32, *space)
    torch.testing.assert_close(graph(u), block(u))
    assert "scale" in [node.name for node in graph.graph.nodes]


def test_on_images_one_mean_and_one_product_with_the_map_are_seen(block):
    """A compiler looks for these; no types are converted where none need to be."""
    one_a_position = block.gates(torch.ones(1, 32, 2, 2)).dim() > 2
    if one_a_position or isinstance(block, ConcurrentSqueezeExcitation):
        pytest.skip("the map goes another way too")
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph.graph)
        return graph.forward

    torch.compile(block, backend=keep, fullgraph=True)(torch.randn(2, 32, 5, 5))
    (graph,) = graphs
    u = next(iter(graph.nodes))
    first, product = u.users
    assert product.target is operator.mul
    if first.target == "flatten":
        (z,) = first.users
        assert z.target == "amax"
    else:
        assert first.target == "mean"
    assert not any(node.target == "to" for node in graph.nodes)
    assert product.args[1].meta["example_value"].shape == (2, 32, 1, 1)


def test_it_exports_as_plain_pytorch_with_a_dynamic_batch(block):
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(block, (torch.randn(2, 32, 5, 5),), dynamic_shapes=[{0: batch}])
    u = torch.randn(7, 32, 5, 5)
    torch.testing.assert_close(program.module()(u), block(u))
    assert not any("senet" in str(node.target) for node in program.graph.nodes)
