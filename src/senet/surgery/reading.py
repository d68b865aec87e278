"""A network as graphs of calls of its innermost modules, for finding places in it.

It is read from the outside in, only in evaluation mode. Where a forward has no graph because its
control flow depends on its input, the reading starts anew within it.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from senet.gates.find import is_attention
from senet.graph.trace import UntraceableError, trace
from senet.graph.words import (
    CONVOLUTIONS,
    KEEP_CHANNELS,
    LIKE_ACTIVATIONS,
    called,
    concatenated,
    is_addition,
    is_norm_module,
    name_of,
    width,
)
from senet.nn import ChannelAttention
from senet.surgery.with_se import WithSE


@dataclass(frozen=True, eq=False)
class Region:
    """A module of the network that can be read in one piece.

    Attributes:
        path: the path of the module in the network.
        module: the module itself.
        graph: the calls of its innermost modules: those without others in them, norms,
            convolutions, and blocks of attention.
        attention: the blocks of attention of the network, by their ids.
    """

    path: str
    module: nn.Module
    graph: fx.Graph
    attention: frozenset[int] = frozenset()

    def called(self, node: Any) -> nn.Module | None:
        """Return the module that ``node`` calls."""
        return called(node, self.module)

    def at(self, node: fx.Node) -> str:
        """Return the path in the network of the module that ``node`` calls."""
        return joined(self.path, str(node.target))

    @property
    def output(self) -> Any:
        (output,) = (node for node in self.graph.nodes if node.op == "output")
        return output.args[0]

    def channels(self, node: Any) -> int | None:
        """Return the channels of the feature map that ``node`` makes.

        The result is ``None`` if neither its maker nor its users show how many.
        """
        if not isinstance(node, fx.Node):
            return None
        known = width(self.called(node), made=True)
        if known is None and (pieces := concatenated(node)):
            each = [self.channels(piece) for piece in pieces]
            known = None if None in each else sum(filter(None, each))
        if known is None and (is_addition(node) or self.keeps_channels(node)):
            known = next(filter(None, map(self.channels, node.all_input_nodes)), None)
        return self._taken(node) if known is None else known

    def _taken(self, node: fx.Node) -> int | None:
        for user in node.users:
            known = width(self.called(user), made=False)
            if known is None and self.keeps_channels(user):
                known = self._taken(user)
            if known is not None:
                return known
        return None

    def keeps_channels(self, node: fx.Node) -> bool:
        """Return whether ``node`` makes one map from one map, with as many channels."""
        known = self.is_attention(node) or is_called(node, KEEP_CHANNELS, self.module)
        return len(node.all_input_nodes) == 1 and known

    def is_attention(self, node: fx.Node) -> bool:
        module = self.called(node)
        return isinstance(module, ChannelAttention | WithSE) or id(module) in self.attention

    def is_activation(self, node: fx.Node | None) -> bool:
        return node is not None and is_called(node, LIKE_ACTIVATIONS, self.module)


class Reading:
    """The structure of the network ``model``, read without running its forward.

    Attributes:
        regions: those that do not lie within each other, from the outside in.
        attention: the blocks of attention, by their paths.
        unreadable: modules that call convolutions themselves and have no graph, and why.
        graphs: graphs of the calls in the forward of a module, where it has one, by its path.
        calls: how often a module is called, by its id.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.attention: dict[str, nn.Module] = {}
        self.unreadable: dict[str, str] = {}
        self.graphs: dict[str, fx.Graph] = {}
        self._look("", model)
        self.regions = list(self._regions("", model))
        self.calls = Counter(
            id(module)
            for region in self.regions
            for node in region.graph.nodes
            if (module := region.called(node)) is not None
        )

    def _look(self, path: str, module: nn.Module) -> None:
        """Find the blocks of attention, and the modules that can be seen through."""
        if is_attention(module):
            self.attention[path] = module
            return
        if is_innermost(module):
            return
        if not isinstance(module, WithSE) and not is_container(module):
            try:
                self.graphs[path] = read(module)
            except UntraceableError as error:
                if any(isinstance(child, CONVOLUTIONS) for child in module.children()):
                    self.unreadable[path] = str(error)
        for name, child in module.named_children():
            self._look(joined(path, name), child)

    def _regions(self, path: str, module: nn.Module) -> Iterator[Region]:
        if path in self.graphs and (region := self.region(path)) is not None:
            yield region
            return
        for name, child in module.named_children():
            yield from self._regions(joined(path, name), child)

    def region(self, path: str, module: nn.Module | None = None) -> Region | None:
        """Read the module at ``path``, or another that stands for it, in one piece if possible."""
        module = self.modules[path] if module is None else module
        try:
            graph = read(module, frozenset(self._seen_through(path, module)))
        except UntraceableError:
            return None
        return Region(path, module, graph, frozenset(map(id, self.attention.values())))

    def _seen_through(self, path: str, module: nn.Module, within: str = "") -> Iterator[str]:
        for name, child in module.named_children():
            at, inside = joined(path, name), joined(within, name)
            if at in self.graphs:
                yield inside
            if at in self.graphs or is_container(child):
                yield from self._seen_through(at, child, inside)

    def where(self, path: str) -> tuple[Region, fx.Node] | None:
        """Return the only call of the module at ``path``; ``None`` if there are none or several."""
        found = [
            (region, node)
            for region in self.regions
            for node in region.graph.nodes
            if region.called(node) is self.modules[path]
        ]
        return found[0] if len(found) == 1 else None

    def channels(self, path: str) -> int | None:
        """Return the channels of the module's output at ``path``, if they are known."""
        known = width(self.modules[path], made=True)
        if known is not None:
            return known
        if path in self.graphs:
            region = self.region(path)
            return None if region is None else region.channels(region.output)
        found = self.where(path)
        return None if found is None else found[0].channels(found[1])

    def empty_place(self, path: str) -> int | None:
        """Return the channels of SE at the place that a block keeps for it, if it keeps one.

        Without SE, the attribute ``se`` of timm's blocks and ours is ``None`` or a module that does
        nothing. The forward is read with a stand-in there, and must call it once.
        """
        block, guest = self.modules[path], _Guest()
        if not (hasattr(block, "se") and (block.se is None or type(block.se) is nn.Identity)):
            return None
        region = self.region(path, hosting(block, guest))
        if region is None:
            return None
        calls = [node for node in region.graph.nodes if region.called(node) is guest]
        return region.channels(calls[0]) if len(calls) == 1 else None

    def calls_guests(self, path: str) -> bool:
        """Return whether a module calls whatever is in it, as sequences do, or may do so."""
        if path not in self.graphs:
            return False
        try:
            graph = read(hosting(self.modules[path], _Guest()))
        except UntraceableError:
            return True
        return any(node.target == "se" for node in graph.nodes)


class _Guest(ChannelAttention):
    """A stand-in for SE, to see whether SE would be called."""


def hosting(block: nn.Module, guest: nn.Module | None) -> nn.Module:
    """Return a copy of ``block`` with the same modules in it, but ``guest`` as its ``se``."""
    twin = copy.copy(block)
    twin._modules = dict(block._modules)
    twin.se = guest  # type: ignore[assignment]
    return twin


def read(module: nn.Module, inline: Collection[str] = ()) -> fx.Graph:
    """Return the graph of the forward of ``module`` in evaluation, see :func:`.trace`."""
    return trace(module, inline, modes=(False,))


def joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def within(path: str, owner: str) -> bool:
    """Return whether a module lies within another, or is the other.

    Example:
        >>> within("layer1.0.bn1", "layer1.0"), within("layer1.01", "layer1.0")
        (True, False)
    """
    return not owner or path == owner or path.startswith(f"{owner}.")


def is_container(module: nn.Module) -> bool:
    """Return whether a module is a list or dictionary of modules, which is never called itself."""
    return type(module).forward is nn.Module.forward


def is_innermost(module: nn.Module) -> bool:
    """Return whether nothing within the module is of interest."""
    if isinstance(module, WithSE):
        return False
    if is_norm_module(module) or isinstance(module, CONVOLUTIONS):
        return True
    empty = next(module.children(), None) is None
    plain = next(module.parameters(), None) is None and not isinstance(module, nn.Sequential)
    return empty or plain  # a user's own activation, say, made of PyTorch's


def is_called(node: fx.Node, names: tuple[str, ...], module: nn.Module) -> bool:
    """Return whether the name of what ``node`` calls contains one of ``names``."""
    inner = called(node, module)
    plain = inner is None or is_innermost(inner)
    return plain and node.op.startswith("call") and any(n in name_of(node, module) for n in names)
