"""A network as graphs of calls of its innermost modules, for finding places in it.

It is read from the outside in, in evaluation mode alone. Wherever a forward has no graph, for its
control flow depends on its input, the reading begins anew within it.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_hook

from senet.gates.find import se_layers
from senet.gates.record import gates_of
from senet.graph.trace import UntraceableError, called, is_addition, trace
from senet.nn import ChannelAttention
from senet.surgery.with_se import WithSE

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Parts of the names of modules and functions, lower case, without underscores.
ACTIVATIONS = ("elu", "swish", "silu", "mish", "tanh", "sigmoid")
NOTHING_IN_EVALUATION = ("identity", "drop", "stochasticdepth")
_KEEP_CHANNELS = (*ACTIVATIONS, *NOTHING_IN_EVALUATION, "pool", "interpolate", "upsample")
_CONCATENATIONS = (torch.cat, torch.concat)
_PRODUCTS = (operator.mul, operator.imul, torch.mul, "mul", "mul_")


@dataclass(frozen=True, eq=False)
class Region:
    """A module of the network that can be read in one piece.

    Attributes:
        path: of the module in the network.
        module: itself.
        graph: the calls of its innermost modules: those without others in them, norms,
            convolutions, and blocks of attention.
        attention: the blocks of attention of the network, by their ids.
    """

    path: str
    module: nn.Module
    graph: fx.Graph
    attention: frozenset[int] = frozenset()

    def called(self, node: Any) -> nn.Module | None:
        """The module that ``node`` calls."""
        return called(node, self.module) if isinstance(node, fx.Node) else None

    def at(self, node: fx.Node) -> str:
        """The path in the network of the module that ``node`` calls."""
        return joined(self.path, str(node.target))

    @property
    def output(self) -> Any:
        (output,) = (node for node in self.graph.nodes if node.op == "output")
        return output.args[0]

    def channels(self, node: Any) -> int | None:
        """Of the map that ``node`` makes; ``None`` if what made it and what takes it do not say."""
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
        """Whether ``node`` makes of one map another of as many channels."""
        known = self.is_attention(node) or is_called(node, _KEEP_CHANNELS, self.module)
        return len(node.all_input_nodes) == 1 and known

    def is_attention(self, node: fx.Node) -> bool:
        module = self.called(node)
        return isinstance(module, ChannelAttention | WithSE) or id(module) in self.attention

    def is_activation(self, node: fx.Node | None) -> bool:
        return node is not None and is_called(node, ACTIVATIONS, self.module)


class Reading:
    """All that is known of the network ``model``, whose forward is not run.

    Attributes:
        regions: that do not lie within each other, from the outside in.
        attention: the blocks of attention, by their paths.
        unreadable: modules that call convolutions themselves and have no graph, and why.
        graphs: of modules that have one, of the calls in their own forward, by their paths.
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
        """Find the blocks of attention, and what can be seen through."""
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
        """The module at ``path``, or another that stands for it, read in one piece if it can be."""
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
        """The only call of the module at ``path``; ``None`` if there is none, or several."""
        found = [
            (region, node)
            for region in self.regions
            for node in region.graph.nodes
            if region.called(node) is self.modules[path]
        ]
        return found[0] if len(found) == 1 else None

    def channels(self, path: str) -> int | None:
        """Of the map that the module at ``path`` makes; ``None`` if that cannot be told."""
        known = width(self.modules[path], made=True)
        if known is not None:
            return known
        if path in self.graphs:
            region = self.region(path)
            return None if region is None else region.channels(region.output)
        found = self.where(path)
        return None if found is None else found[0].channels(found[1])

    def empty_place(self, path: str) -> int | None:
        """The channels of SE at the place that a block keeps for it; ``None`` if it keeps none.

        timm's blocks and ours have an attribute ``se``, ``None`` or a module that does nothing
        where there is no SE. The forward is read with something in it, and must call that once.
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
        """Whether a module calls whatever is in it, as sequences do, or is no longer readable."""
        if path not in self.graphs:
            return False
        try:
            graph = read(hosting(self.modules[path], _Guest()))
        except UntraceableError:
            return True
        return any(node.target == "se" for node in graph.nodes)


class _Guest(ChannelAttention):
    """Stands where SE would, while it is looked whether it would be called."""


def hosting(block: nn.Module, guest: nn.Module | None) -> nn.Module:
    """A copy of ``block`` with the same modules in it, but for ``guest`` as its ``se``."""
    twin = copy.copy(block)
    twin._modules = dict(block._modules)
    twin.se = guest  # type: ignore[assignment]
    return twin


@contextmanager
def _watched() -> Iterator[None]:
    """While somebody watches, senet's own modules run one by one, and so have a graph."""
    handle = register_module_forward_hook(lambda module, inputs, output: None)
    try:
        with torch.enable_grad():
            yield
    finally:
        handle.remove()


def read(module: nn.Module, inline: Collection[str] = ()) -> fx.Graph:
    """The graph of the forward of ``module`` in evaluation, see :func:`.trace`."""
    with _watched():
        return trace(module, inline, modes=(False,))


def joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def within(path: str, owner: str) -> bool:
    """Whether a module lies within another, or is it.

    Example:
        >>> within("layer1.0.bn1", "layer1.0"), within("layer1.01", "layer1.0")
        (True, False)
    """
    return not owner or path == owner or path.startswith(f"{owner}.")


def is_container(module: nn.Module) -> bool:
    """A list or dictionary of modules, which is never called itself."""
    return type(module).forward is nn.Module.forward


def is_norm(module: nn.Module | None) -> bool:
    """A norm by channels: of batches, images or groups."""
    known = isinstance(module, _NormBase | nn.GroupNorm)
    return known or (module is not None and "BatchNorm" in type(module).__name__)


def is_linear_norm(module: nn.Module | None) -> bool:
    """A norm without an activation of its own, as some of timm's have one."""
    return is_norm(module) and type(getattr(module, "act", nn.Identity())) is nn.Identity


def is_innermost(module: nn.Module) -> bool:
    """Whether nothing within the module is of interest."""
    if isinstance(module, WithSE):
        return False
    if is_norm(module) or isinstance(module, CONVOLUTIONS):
        return True
    empty = next(module.children(), None) is None
    plain = next(module.parameters(), None) is None and not isinstance(module, nn.Sequential)
    return empty or plain  # somebody's own activation, say, made of PyTorch's


def width(module: nn.Module | None, made: bool) -> int | None:
    """The channels that a convolution or norm makes, or takes; ``None`` for other modules."""
    if isinstance(module, CONVOLUTIONS):
        return module.out_channels if made else module.in_channels
    if isinstance(module, _NormBase):
        return module.num_features
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    weight = getattr(module, "weight", None) if is_norm(module) else None
    return len(weight) if isinstance(weight, torch.Tensor) else None


def name_of(node: fx.Node, module: nn.Module) -> str:
    """What ``node`` calls, in one spelling for modules, functions and methods."""
    inner = called(node, module)
    target: Any = type(inner) if inner is not None else node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    return name.lower().replace("_", "")


def is_called(node: fx.Node, names: tuple[str, ...], module: nn.Module) -> bool:
    """Whether one of ``names`` is a part of the name of what ``node`` calls."""
    inner = called(node, module)
    plain = inner is None or is_innermost(inner)
    return plain and node.op.startswith("call") and any(n in name_of(node, module) for n in names)


def is_product(node: fx.Node) -> bool:
    return node.op.startswith("call") and node.target in _PRODUCTS


def concatenated(node: Any) -> list[fx.Node]:
    """The maps whose channels ``node`` puts one behind the other; none if it does another thing."""
    if not isinstance(node, fx.Node) or node.target not in _CONCATENATIONS:
        return []
    pieces: Any
    pieces, dim, *_ = (*node.args, node.kwargs.get("dim", 0), None)
    maps = isinstance(pieces, list | tuple) and all(isinstance(p, fx.Node) for p in pieces)
    return list(pieces) if maps and dim in (1, -3) else []


@torch.no_grad()
def is_attention(module: nn.Module | None) -> bool:
    """Whether a module rescales channels by what it sees: SE of any dialect, or what came after.

    Example:
        >>> from senet import SqueezeExcitation
        >>> is_attention(SqueezeExcitation(8, 2)), is_attention(nn.Conv2d(8, 8, 1))
        (True, False)
    """
    if module is None or isinstance(module, WithSE):
        return False
    if isinstance(module, ChannelAttention) or se_layers(module) is not None:
        return True
    gates = gates_of(module)
    return gates is not None and _one_a_channel(module)


def _one_a_channel(module: nn.Module) -> bool:
    """Whether the gates of ``module`` are one number a channel, by those of a random map."""
    probe = copy.deepcopy(module).eval()
    gates = gates_of(probe)
    layers = [m for m in probe.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    if gates is None or not layers:
        return False
    weight = layers[0].weight
    channels = weight.shape[1] * getattr(layers[0], "groups", 1)
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(2, channels, 3, 5, generator=generator).to(weight)
    try:
        s = gates(u)
    except Exception:  # anybody's code, and it need not be a block for images
        return False
    s = s[..., None] if s.dim() == 2 else s.flatten(2)
    return s.shape[:2] == u.shape[:2] and (s.is_meta or bool((s == s[..., :1]).all()))
