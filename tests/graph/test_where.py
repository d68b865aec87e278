"""The module that a node came from."""

import torch
from torch import nn
from torch.nn import functional as F

from senet.graph.capture import captured
from senet.graph.where import common, names_of, path_of
from tests.graph.capturing import CHANNELS, a_map, graphs_of


def norm():
    return nn.BatchNorm2d(CHANNELS)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn1 = norm()

    def forward(self, x):
        return F.relu(self.bn1(x) + x)


class Net(nn.Module):
    """Modules held in every way, and with the names that TorchDynamo's own paths begin with."""

    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(Block(), nn.Sequential(norm()))
        self.many = nn.ModuleList([norm(), Block()])
        self.named = nn.ModuleDict({"a": norm(), "b c": Block()})
        self.model = norm()
        self.self = norm()

    def forward(self, x):
        x = self.layer1(x)
        for module in self.many:
            x = module(x)
        for module in self.named.values():
            x = module(x)
        return self.self(self.model(x))


NORMS = [
    "layer1.0.bn1",
    "layer1.1.0",
    "many.0",
    "many.1.bn1",
    "named.a",
    "named.b c.bn1",
    "model",
    "self",
]


def paths(graph, names=None):
    return [path_of(n, names) for n in graph.nodes if n.target is F.batch_norm]


def graph_captured(model):
    """Capture it as `accelerate` does."""
    found = []

    def backend(gm, _):
        found.append(gm.graph)
        return gm.forward

    torch._dynamo.reset()
    captured(model, backend)(a_map())
    (graph,) = found
    return graph


def test_paths_are_those_of_named_modules():
    model = Net()
    assert set(NORMS) <= {path for path, _ in model.named_modules()}
    (graph,) = graphs_of(model, a_map())
    for names in (None, names_of(model)):
        assert paths(graph, names) == NORMS
        assert paths(graph_captured(model), names) == NORMS


def test_paths_in_a_container_at_the_top():
    model = nn.Sequential(norm(), Net())
    for names in (None, names_of(model)):
        assert paths(graph_captured(model), names) == ["0", *(f"1.{path}" for path in NORMS)]


def test_functions_belong_to_the_module_that_calls_them():
    (graph,) = graphs_of(Net(), a_map())
    relus = [path_of(n) for n in graph.nodes if n.target is F.relu]
    assert relus == ["layer1.0", "many.1", "named.b c"]


def test_what_the_network_itself_calls_has_no_path():
    model = Block()
    (graph,) = graphs_of(model, a_map())
    found = {n.target: path_of(n) for n in graph.nodes if n.op == "call_function"}
    assert found[F.relu] == ""
    assert found[F.batch_norm] == "bn1"


def test_common():
    assert common(["a.b.c", "a.b", "a.b.d"]) == "a.b"
    assert common(["a.b", "a.bc"]) == "a"
    assert common(["a", ""]) == ""
    assert common(["a.b"]) == "a.b"
    assert common([]) == ""
