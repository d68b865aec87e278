"""The gates of anybody's blocks of channel attention: what they are, and recording them.

A block is known by what its forward returns: its map, times something that it made of the map. So
SE of any activation and gate is seen, and what came after SE (ECA, eSE, the channel half of CBAM).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from senet.gates.statistics import BlockGates, GateSums
from senet.graph.trace import UntraceableError, trace
from senet.nn import ChannelAttention

Gates = Callable[[Tensor], Tensor]
_PRODUCTS = (operator.mul, operator.imul, torch.mul, "mul", "mul_")


def gates_of(module: nn.Module) -> Gates | None:
    """What ``module`` multiplies its map with, as a function of the map.

    ``None`` if it is no block that multiplies its map with something of its own. What comes out may
    have one number a channel, ``[B, C]`` or ``[B, C, 1, …]``, or one a position.

    Example:
        >>> class Bare(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.fc1, self.fc2 = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        ...     def forward(self, x):
        ...         s = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu())
        ...         return x * s.sigmoid()
        >>> gates_of(Bare())(torch.ones(4, 8, 5, 5)).shape
        torch.Size([4, 8, 1, 1])
        >>> gates_of(nn.Conv2d(8, 8, 1)) is None
        True
    """
    if isinstance(module, ChannelAttention):
        return module.gates
    torchs = type(module).__module__.startswith("torch.nn")
    if torchs or next(module.children(), None) is None or next(module.parameters(), None) is None:
        return None
    try:
        graph = trace(module)
    except UntraceableError:
        return None
    return _factor(graph, module)


def _factor(graph: fx.Graph, module: nn.Module) -> Gates | None:
    """The part of the graph that makes the other factor of the product that is returned."""
    x, (output,) = ([n for n in graph.nodes if n.op == op] for op in ("placeholder", "output"))
    product = output.args[0]
    if not isinstance(product, fx.Node) or product.target not in _PRODUCTS:
        return None
    factors = [a for a in product.args if a is not x[0]]
    if len(x) != 1 or len(product.args) != 2 or len(factors) != 1:
        return None
    (s,) = factors
    if not isinstance(s, fx.Node) or s.op == "get_attr":
        return None
    part, copies = fx.Graph(), {}
    for node in graph.nodes:
        copies[node] = part.node_copy(node, copies.__getitem__)
        if node is s:
            break
    part.output(copies[s])
    return fx.GraphModule(module, part)


def record(
    model: nn.Module,
    blocks: Mapping[str, nn.Module],
    batches: Iterable[tuple[Tensor, Tensor]],
    classes: int,
) -> dict[str, BlockGates | str]:
    """Run the images through ``model``, and gather the gates of its blocks.

    Args:
        model: in evaluation mode.
        blocks: of the network, by their paths; all have :func:`gates_of`.
        batches: inputs as the network takes them, and labels ``[B]``.
        classes: number of classes.

    Returns:
        For every block its gates, or why it has none that are one number an image and channel.
    """
    recorders = {path: _Recorder(block) for path, block in blocks.items()}
    hooks = [
        hook
        for recorder in recorders.values()
        for hook in (
            recorder.block.register_forward_pre_hook(recorder.take),
            recorder.block.register_forward_hook(recorder.check),
        )
    ]
    try:
        for x, labels in batches:
            model(x)
            for recorder in recorders.values():
                recorder.keep(labels.cpu(), classes)
    finally:
        for hook in hooks:
            hook.remove()
    return {path: recorder.result(path) for path, recorder in recorders.items()}


class _Recorder:
    """Takes the gates of one block, and on the first batch whether they are all that it does."""

    def __init__(self, block: nn.Module) -> None:
        gates = gates_of(block)
        assert gates is not None
        self.block, self.gates = block, gates
        self.latest: Tensor | None = None
        self.expected: Tensor | None = None
        self.sums: GateSums | None = None
        self.wrong = ""

    def take(self, block: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self.wrong:
            return
        u = inputs[0]
        s = self.gates(u)
        self.latest = _of_channels(s, u)
        if self.latest is None:
            self.wrong = "its gates are not one number an image and channel"
        elif self.sums is None:
            self.expected = u * self.latest.to(u.dtype).reshape(*u.shape[:2], *(1,) * (u.dim() - 2))

    def check(self, block: nn.Module, inputs: tuple[Any, ...], y: Any) -> None:
        if self.expected is None or self.wrong:
            return
        tolerance = 64 * torch.finfo(self.expected.dtype).eps
        same = isinstance(y, Tensor) and y.shape == self.expected.shape
        if not (same and torch.allclose(y, self.expected.to(y.dtype), tolerance, tolerance)):
            self.wrong = "it does more than to multiply its map with its gates"
        self.expected = None

    def keep(self, labels: Tensor, classes: int) -> None:
        if self.wrong or self.latest is None:
            return
        s, self.latest = self.latest.cpu(), None
        if not s.isfinite().all():
            self.wrong = "its gates are not finite"
            return
        if self.sums is None:
            self.sums = GateSums(classes, s.shape[1])
        self.sums.add(s, labels)

    def result(self, path: str) -> BlockGates | str:
        if self.wrong:
            return self.wrong
        return "the images do not come by it" if self.sums is None else self.sums.result(path)


def _of_channels(s: Tensor, u: Tensor) -> Tensor | None:
    """S as ``[B, C]``, or ``None`` if it differs from position to position."""
    if s.shape[:2] != u.shape[:2]:
        return None
    s = s[..., None] if s.dim() == 2 else s.flatten(2)
    return s[..., 0] if bool((s == s[..., :1]).all()) else None
