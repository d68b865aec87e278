"""The writes of operations, and the inputs that may be read later than in the graph."""

import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from senet.graph.effects import ANYTHING, storages, undisturbed, writes
from senet.graph.value import value_of
from tests.graph.capturing import CHANNELS, Parts, a_map, graph_of, graphs_of


def placeholders(graph):
    """Return x and r, or ``None`` for one that the network does not use."""
    inputs = {n.name: n for n in graph.nodes if n.op == "placeholder"}
    return [inputs.get(f"l_maps_{i}_") for i in range(2)]


def calls(graph):
    return [n for n in graph.nodes if n.op.startswith("call_")]


def written(body):
    """Return the names of the maps, x and r, that ``body`` writes; "?" for anything."""
    graph = graph_of(body)
    found = set()
    for node in calls(graph):
        if (storage := writes(node)) is ANYTHING:
            return "?"
        found |= storage
    x, r = placeholders(graph)
    names = {"x": storages([x]), "r": storages([r])}
    return "".join(name for name, storage in names.items() if found & storage)


SILU = nn.SiLU(inplace=True)


def put(x, r):
    x[:, 0] = r[:, 1]
    return x


def grow(x, r):
    x += r
    return x


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (lambda m, x, r: x + r, ""),
        (lambda m, x, r: F.relu(x), ""),
        (lambda m, x, r: m.conv(x) * r, ""),
        (lambda m, x, r: x.view(-1)[1:], ""),
        (lambda m, x, r: x.clone().add_(r), ""),
        (lambda m, x, r: torch.empty_like(x).copy_(r), ""),
        (lambda m, x, r: F.dropout(x, 0.5), ""),
        (lambda m, x, r: x.add_(r), "x"),
        (lambda m, x, r: grow(x, r), "x"),
        (lambda m, x, r: r.mul_(x), "r"),
        (lambda m, x, r: F.relu(x, inplace=True), "x"),
        (lambda m, x, r: F.relu_(r), "r"),
        (lambda m, x, r: SILU(x), "x"),
        (lambda m, x, r: F.dropout(x, 0.5, inplace=True), "x"),
        (lambda m, x, r: x[0].zero_(), "x"),
        (lambda m, x, r: x.flatten().mul_(2), "x"),
        (lambda m, x, r: x.detach().add_(1), "x"),
        (lambda m, x, r: x.transpose(0, 1)[1:].expand(7, 2, 4, 5).add(1), ""),
        (lambda m, x, r: x.copy_(r), "x"),
        (lambda m, x, r: r.clamp_(min=0), "r"),
        (lambda m, x, r: x.index_fill_(0, torch.tensor([0]), 1.0), "x"),
        (lambda m, x, r: torch.mul(x, 2, out=r), "r"),
        (lambda m, x, r: torch._foreach_add_([x, r], 1.0), "xr"),
        (lambda m, x, r: put(x, r), "?"),
    ],
)
def test_what_is_written(body, wanted):
    assert written(body) == wanted


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_norm_moves_its_statistics_in_training(training):
    graph = graph_of(lambda m, x, r: m.bn.train(training)(x))
    (norm,) = (n for n in calls(graph) if n.target is F.batch_norm)
    kept = storages(norm.args[1:3])
    assert len(kept) == 2
    assert writes(norm) == (kept if training else set())


def test_what_cannot_be_told_writes_anything():
    def mode(m, x, r):
        with torch.no_grad():
            return x + r

    def autocast(m, x, r):
        with torch.autocast("cpu"):
            return x @ r.transpose(2, 3)

    def kept(m, x, r):
        return checkpoint(m.conv, x, use_reentrant=False)

    for body in (mode, autocast, kept):
        assert any(writes(node) is ANYTHING for node in calls(graph_of(body)))


def test_arithmetic_on_sizes_writes_nothing():
    graph = graph_of(
        lambda m, x, r: x.view(x.shape[0], 2 * x.shape[2], -1) + r[0, 0, 0, 0], dynamic=True
    )
    of_numbers = [n for n in calls(graph) if isinstance(value_of(n), torch.SymInt)]
    assert of_numbers
    assert all(writes(n) == set() for n in of_numbers)


def test_views_share_a_storage():
    graph = graph_of(lambda m, x, r: (x[0], x.flatten(), x.detach(), x.clone(), F.relu(r)))
    x, r = placeholders(graph)
    *views, clone, relu = calls(graph)
    assert storages([x, *views]) == storages([x])
    assert len(storages([x, clone, relu, r])) == 4
    assert storages([]) == storages([1.0, None]) == set()


@pytest.mark.parametrize(
    ("between", "free"),
    [
        (lambda m, x, r: x * 2, True),
        (lambda m, x, r: r.add_(1), True),
        (lambda m, x, r: (x + 1).mul_(2), True),
        (lambda m, x, r: x.add_(1), False),
        (lambda m, x, r: x[:1].add_(1), False),
        (lambda m, x, r: m.bn(x), True),
    ],
)
def test_what_may_be_read_later(between, free):
    graph = graph_of(lambda m, x, r: (x.sin(), between(m, x, r), x.cos()))
    first, last = (next(n for n in calls(graph) if n.target == f) for f in ("sin", "cos"))
    inner = set(calls(graph)) - {first, last}
    x, _ = placeholders(graph)
    assert undisturbed([x], first, last, set()) is free
    assert undisturbed([x], first, last, inner)
    assert undisturbed([x], last, last, set())
    assert undisturbed([], first, last, set())


def test_the_ends_themselves_do_not_count():
    graph = graph_of(lambda m, x, r: (x.add_(1), r.cos(), x.mul_(2), x.add_(3)))
    add, _, mul, again = calls(graph)
    x, r = placeholders(graph)
    assert undisturbed([x], add, mul, set())
    assert not undisturbed([x], add, again, set())
    assert undisturbed([r], add, again, set())


def test_what_has_no_storage_is_not_read_later():
    """The storages that a write to a sparse tensor changes are unknown."""
    graph = graph_of(lambda m, x, r: (x.sin(), x.cos()))
    first, last = calls(graph)
    x, _ = placeholders(graph)
    x.meta["example_value"] = torch.eye(3).to_sparse()
    assert storages([x]) is None
    assert not undisturbed([x], first, last, set())


def test_a_mode_in_between():
    def body(m, x, r):
        y = x.sin()
        with torch.no_grad():
            z = r.cos()
        return y, z, x.tan()

    graph = graph_of(body)
    x, _ = placeholders(graph)
    first, *_, last = calls(graph)
    assert not undisturbed([x], first, last, set())


def test_graphs_of_a_broken_network_are_told_apart():
    def body(m, x, r):
        x.add_(1)
        torch._dynamo.graph_break()
        return operator.add(x, r)

    first, second = graphs_of(Parts(body), a_map(), torch.ones(2, CHANNELS, 4, 5))
    assert [len(writes(n)) for n in calls(first)] == [1]
    assert [len(writes(n)) for n in calls(second)] == [0]
