"""Modules without a graph of calls, and their errors."""

import pytest
import torch
from torch import fx, nn

from senet.graph.trace import UntraceableError, trace
from tests.fuse.blocks import Block


def test_a_script_module_has_no_graph():
    with pytest.raises(UntraceableError, match="ScriptModule"):
        trace(torch.jit.trace(Block().eval(), torch.randn(1, 16, 5, 5)))


class Remembering(nn.Module):
    """Keeps what it computes in evaluation, as the attention of timm's LeViT does."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(4))
        self.register_buffer("count", torch.zeros(()))
        self.seen: dict[str, object] = {}
        self.last: object = None

    def forward(self, x):
        self.count += 1
        if "bias" not in self.seen:
            self.seen["bias"] = self.bias[:2]
        self.last = x + self.seen["bias"]
        return self.last


def test_a_forward_that_keeps_what_it_computes_keeps_nothing_of_a_trace():
    module = Remembering().eval()
    assert str(trace(module)) == str(trace(module))
    assert (module.seen, module.last, module.count, module.training) == ({}, None, 0, False)
    x = torch.zeros(3, 2)
    torch.testing.assert_close(module(x), module.bias[:2].expand(3, 2))


def test_constants_of_a_graph_stay_where_it_finds_them():
    class Constant(nn.Module):
        def forward(self, x):
            return x + torch.ones(2)

    module = Constant()
    graph = trace(module)
    assert fx.GraphModule(module, graph)(torch.zeros(2)).tolist() == [1.0, 1.0]
