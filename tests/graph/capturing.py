"""Graphs for the tests of `senet.graph`, from functions of a few parts and some maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

CHANNELS = 8


class Parts(nn.Module):
    """The parts of a network, and ``body(parts, *maps)``, which uses it."""

    def __init__(self, body: Callable[..., Any], dims: int = 2) -> None:
        super().__init__()
        self.body = body
        norm = getattr(nn, f"BatchNorm{dims}d")
        self.bn, self.bn2 = norm(CHANNELS), norm(CHANNELS)
        self.fc = nn.Linear(CHANNELS, CHANNELS)
        self.conv = getattr(nn, f"Conv{dims}d")(CHANNELS, CHANNELS, 1)
        self.eca = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, *maps: Tensor) -> Any:
        return self.body(self, *maps)

    def gate(self, z: Tensor) -> Tensor:
        """Return s from z, both ``[B, C]``."""
        return self.fc(z).sigmoid()

    def se(self, u: Tensor) -> Tensor:
        s = self.conv(u.mean(tuple(range(2, u.dim())), keepdim=True))
        return u * s.sigmoid()


def a_map(dims: int = 2, **options: Any) -> Tensor:
    return torch.randn(2, CHANNELS, *(4, 5, 3)[:dims], **options)


def graphs_of(model: nn.Module, *inputs: Any, dynamic: bool = False) -> list[fx.Graph]:
    """Return the graphs that TorchDynamo captures of ``model``."""
    found = []

    def backend(gm: fx.GraphModule, _: Any) -> Callable[..., Any]:
        found.append(gm.graph)
        return gm.forward

    torch._dynamo.reset()
    torch.compile(model, backend=backend, dynamic=dynamic)(*inputs)
    return found


def graph_of(body: Callable[..., Any], *inputs: Any, dims: int = 2, **options: Any) -> fx.Graph:
    """Return the only graph of ``body`` on some parts and maps."""
    (graph,) = graphs_of(Parts(body, dims), *(inputs or (a_map(dims), a_map(dims))), **options)
    return graph
