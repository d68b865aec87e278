"""The places for SE in any network: those of the paper, found by structure.

The rules apply in this order; what one rule finds, the next ones leave alone:

own place          a block that keeps an empty place for SE, as timm's and ours do
inverted residual  on the wide map, after the depthwise convolution, its norm and its activation
                   (MnasNet, arXiv 1807.11626, Figure 7; MobileNetV3)
dense layer        on what each layer of a dense block adds (DenseNet, arXiv 1608.06993)
concatenation      on the output of an Inception module (Figure 2 of arXiv 1709.01507v4)
residual branch    at its end, after its last convolution and norm, before the addition (Figure 3);
                   if the branch ends in a layer scale, before that (ConvNeXt, arXiv 2201.03545)
"""

from __future__ import annotations

import fnmatch
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import fx, nn

from senet.graph.trace import only_user
from senet.graph.words import (
    CONVOLUTIONS,
    concatenated,
    is_addition,
    is_linear_norm,
    is_norm_module,
    is_pointwise,
    name_of,
)
from senet.near import near
from senet.surgery.insert.dense import dense_layers
from senet.surgery.insert.past import Past
from senet.surgery.insert.scale import before_scales
from senet.surgery.reading import Reading, Region, is_called, is_container, joined, within
from senet.surgery.with_se import WithSE

Where = str | Iterable[str] | Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class Place:
    """A place for SE, or one that only looks like it.

    Attributes:
        path: the path of the module whose output is to be rescaled, or of the block that keeps the
            place.
        found: what is there.
        channels: the channels of the feature map.
        why: why nothing can be put there; empty where something can.
        own: whether it is the block's own place.
        last: whether the channels of the feature map are its last dimension.
    """

    path: str
    found: str
    channels: int = 0
    why: str = ""
    own: bool = False
    last: bool = False


def find(model: nn.Module, where: Where = "auto") -> list[Place]:
    """Return the places for SE in ``model``, in the order of the network.

    Args:
        model: any network; it is left unchanged.
        where: ``"auto"`` for those of the paper, or the modules that are meant: see
            :func:`~senet.surgery.insert_se`.

    Raises:
        ValueError: if ``where`` names no module.

    Example:
        >>> from senet import create_model
        >>> [place.path for place in find(create_model("resnet8_cifar"))]
        ['layer1.0', 'layer2.0', 'layer3.0']
    """
    reading = Reading(model)
    places = list(_of_the_paper(reading) if where == "auto" else _asked(reading, where))
    order = {path: i for i, path in enumerate(reading.modules)}
    return sorted(places, key=lambda place: order[place.path])


def _of_the_paper(reading: Reading) -> Iterator[Place]:
    rules = _Rules(reading)
    found = [
        *rules.own_places(),
        *(place for region in reading.regions for place in rules.inverted_residuals(region)),
        *(place for region in reading.regions for place in rules.dense_layers(region)),
        *rules.concatenations(),
        *(place for region in reading.regions for place in rules.residual_branches(region)),
    ]
    for path, module in reading.attention.items():
        found.append(Place(path, type(module).__name__, why="it is there already"))
    for path, why in reading.unreadable.items():
        found.append(Place(path, type(reading.modules[path]).__name__, why=why))
    if not found:
        why = (
            "it has no residual branch, no inverted residual, no dense layer and no Inception "
            "module: give the modules that get SE as `where`"
        )
        found.append(Place("", type(reading.model).__name__, why=why))
    yield from found


def _asked(reading: Reading, where: Where) -> Iterator[Place]:
    """Yield the places for which ``where`` asks."""
    blocks = reading.attention
    known = {
        path: module
        for path, module in reading.modules.items()
        if not any(within(path, block) for block in blocks)
    }
    chosen = [path for path, m in known.items() if _is_meant(path, m, where)]
    if not chosen and not callable(where):
        patterns = [where] if isinstance(where, str) else list(where)
        hint = "".join(near(pattern, known) for pattern in patterns)
        raise ValueError(
            f"where={where!r} names no module of {type(reading.model).__name__}.{hint} Use "
            '"auto", names or shell patterns of `named_modules()`, or a function of path and module'
        )
    for path in chosen:
        yield _at(reading, *_last(path, known[path]))


def _is_meant(path: str, module: nn.Module, where: Where) -> bool:
    if callable(where):
        return bool(where(path, module))
    patterns = [where] if isinstance(where, str) else where
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _last(path: str, module: nn.Module) -> tuple[str, str]:
    """Return path and class of the module that makes the output: in a sequence, the last one."""
    while isinstance(module, nn.Sequential) and len(module):
        name, module = list(module._modules.items())[-1]
        path = joined(path, name)
    return path, type(module).__name__


def _at(reading: Reading, path: str, found: str, last: bool = False) -> Place:
    """Return the output of the module at ``path`` as a place, or why it cannot be one.

    With ``last`` the module is a linear layer, which makes the last dimension.
    """
    module = reading.modules[path]
    uses = max(sum(m is module for m in reading.modules.values()), reading.calls[id(module)])
    channels = module.out_features if isinstance(module, nn.Linear) and last else None
    channels, why = reading.channels(path) if channels is None else channels, ""
    if isinstance(module, WithSE):
        why = "it has SE already"
    elif is_container(module):
        why = "it is never called: name the modules in it"
    elif uses > 1:
        why = f"it is used {uses} times, and SE in it would serve all of them"
    elif hasattr(module, "se"):
        why = "it has an attribute `se` of its own"
    elif reading.calls_guests(path):
        why = "it runs through all modules in it, and SE would be one of them"
    elif channels is None:
        why = "its number of channels is not known: name its last norm or convolution"
    return Place(path, found, channels or 0, why, last=last)


class _Rules:
    """The five rules, each of which leaves alone what those before it have taken."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.taken: set[int] = set()
        """The convolutions that have a place already, by their ids."""
        for path in reading.attention:
            owner, _, name = path.rpartition(".")
            if owner and name == "se":
                self._take(reading.modules[owner])

    def own_places(self) -> Iterator[Place]:
        for path in self.reading.graphs:
            block, channels = self.reading.modules[path], self.reading.empty_place(path)
            if channels is not None:
                self._take(block)
                yield Place(path, f"place in {type(block).__name__}", channels, own=True)

    def inverted_residuals(self, region: Region) -> Iterator[Place]:
        for conv in region.graph.nodes:
            ends = _wide_ends(region, conv)
            if not ends or self._is_taken(region.called(conv)):
                continue
            self._take(region.called(conv))
            yield self._first(region, ends, "inverted residual")

    def concatenations(self) -> Iterator[Place]:
        for path, graph in self.reading.graphs.items():
            module = self.reading.modules[path]
            convs = [m for m in module.modules() if isinstance(m, CONVOLUTIONS)]
            region = self.reading.region(path) if _returns_pieces(graph) else None
            if region is None or not convs or any(map(self._is_taken, convs)):
                continue
            if any(within(block, path) for block in self.reading.attention):
                continue
            self._take(module)
            place = _at(self.reading, path, f"concatenation of {type(module).__name__}")
            if not all(_is_made(region, piece) for piece in concatenated(region.output)):
                why = "not all that it concatenates is its own, and SE would rescale the rest too"
                place = Place(path, place.found, place.channels, why)
            yield place

    def dense_layers(self, region: Region) -> Iterator[Place]:
        past = Past(region)
        in_branches = {id(c) for one in _branches(past) for _, c in past.convolutions(*one)}
        for node in region.graph.nodes:
            for layer in dense_layers(past, concatenated(node)):
                convs = layer.convolutions
                if any(self._is_taken(c) or id(c) in in_branches for c in convs):
                    continue
                end, _ = before_scales(past, layer.adds)
                if ends := _ends(region, end):
                    for conv in convs:
                        self._take(conv)
                    yield self._first(region, ends, "dense layer")

    def residual_branches(self, region: Region) -> Iterator[Place]:
        past = Past(region)
        for branch, shortcut in _branches(past):
            convs = past.convolutions(branch, shortcut)
            if past.has_attention(branch, shortcut) or any(self._is_taken(c) for _, c in convs):
                continue
            end, last = before_scales(past, branch)
            ends, why = _ends(region, end, last), past.unlike_a_branch(branch, shortcut)
            if ends and not why:
                yield self._first(region, ends, "residual branch", last)
                continue
            module = region.called(end)
            what = type(module).__name__ if module is not None else name_of(end, region.module)
            why = why or f"it ends in {what}, not in a convolution, its norm or its activation"
            conv, _ = convs[-1]
            yield Place(region.at(conv).rpartition(".")[0], "residual branch", why=why)

    def _first(self, region: Region, ends: list[fx.Node], found: str, last: bool = False) -> Place:
        """Return the first of successive places where nothing is in the way."""
        places = [_at(self.reading, region.at(end), found, last) for end in ends]
        return next((place for place in places if not place.why), places[-1])

    def _take(self, module: nn.Module | None) -> None:
        if module is not None:
            self.taken |= {id(m) for m in module.modules() if isinstance(m, CONVOLUTIONS)}

    def _is_taken(self, module: nn.Module | None) -> bool:
        return id(module) in self.taken


def _branches(past: Past) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Yield the branch and the shortcut of each addition that has them."""
    for node in filter(is_addition, past.region.graph.nodes):
        (shortcut, few), (branch, own) = past.sides(node)
        # A projection is one convolution. Where neither side is a shortcut, there is no branch.
        if not (few > 1 or few == own or _is_part(shortcut)) and past.sees_input(shortcut):
            yield branch, shortcut


def _ends(region: Region, node: fx.Node, last: bool = False) -> list[fx.Node]:
    """Return the modules at the end of a branch, the last first: (activation), norm or convolution.

    Where channels are the last dimension, it is a linear layer. The list is empty if the branch
    ends in something else.
    """
    if last:
        return [node] if isinstance(region.called(node), nn.Linear) else []
    ends = []
    if region.is_activation(node):
        ends, node = [node], node.all_input_nodes[0]
    if not (is_norm_module(region.called(node)) or isinstance(region.called(node), CONVOLUTIONS)):
        return []
    return [end for end in (*ends, node) if region.called(end) is not None]


def _wide_ends(region: Region, node: fx.Node) -> list[fx.Node]:
    """Return the activation and norm after ``node``, if it is the depthwise convolution of a block.

    The block is wide inside and narrow outside: (1×1 → norm → activation) → depthwise → norm →
    (activation) → 1×1 → (norm), and no activation after that. If it is as wide outside, it begins
    with the depthwise convolution. The list is empty if ``node`` is something else, or has SE
    there already.
    """
    depthwise, norm = region.called(node), only_user(node, region.module)
    if not isinstance(depthwise, CONVOLUTIONS) or not 1 < depthwise.in_channels == depthwise.groups:
        return []
    if norm is None or not is_norm_module(region.called(norm)):
        return []
    end, following = norm, only_user(norm, region.module)
    if following is not None and region.is_activation(following):
        end, following = following, only_user(following, region.module)
    narrow = region.called(following)
    if following is None or not isinstance(narrow, CONVOLUTIONS):
        return []
    wide = narrow.out_channels < depthwise.out_channels or (
        narrow.out_channels == depthwise.out_channels and _begins_a_block(region, node)
    )
    swapped = isinstance(region.called(end), WithSE)
    if not (is_pointwise(narrow) and wide and _is_linear_after(region, following)) or swapped:
        return []
    return _ends(region, end)


def _is_linear_after(region: Region, conv: fx.Node) -> bool:
    """Return whether no activation follows a convolution and its norm."""
    following = only_user(conv, region.module)
    if following is not None and is_norm_module(region.called(following)):
        if not is_linear_norm(region.called(following)):
            return False
        following = only_user(following, region.module)
    return not region.is_activation(following)


def _begins_a_block(region: Region, node: fx.Node) -> bool:
    """Return whether no 1×1 convolution with an activation precedes ``node``, as in a block."""
    active = False
    while len(node.all_input_nodes) == 1:
        (node,) = node.all_input_nodes
        active = active or region.is_activation(node)
        conv = region.called(node)
        if isinstance(conv, CONVOLUTIONS):
            return not active or any(k != 1 for k in conv.kernel_size)
    return True


def _returns_pieces(graph: fx.Graph) -> bool:
    (output,) = (node for node in graph.nodes if node.op == "output")
    return len(concatenated(output.args[0])) > 1


def _is_made(region: Region, piece: fx.Node) -> bool:
    """Return whether a module or pooling of this block has made a piece of a concatenation."""
    pooled = is_called(piece, ("pool",), region.module)
    made = pooled or bool(concatenated(piece)) or bool(_ends(region, piece))
    return made or (
        region.called(piece) is not None and type(region.called(piece)) is not nn.Identity
    )


def _is_part(node: fx.Node) -> bool:
    """Return whether ``node`` is one of several parts, like those that Res2Net adds in branches."""
    return node.target is operator.getitem and isinstance(node.args[1], int)
