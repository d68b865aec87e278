"""The packing of a graph's convolutions, with the addition and activation after them inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import fx
from torch.nn import functional as F

from senet.fuse.convolution import Convolution, pair
from senet.fuse.gated import GatedInput
from senet.graph.export import attribute
from senet.graph.value import same_shape, tensor_of
from senet.graph.words import ACTIVATIONS, SUMS, convolution_arguments
from senet.ops.gate import Gate, gated_tail


def pack_convolutions(gm: fx.GraphModule, gates: Mapping[fx.Node, Gate]) -> None:
    """Replace every two-dimensional convolution of the graph by a :class:`Convolution`.

    Args:
        gm: the result of :func:`~senet.graph.export.exported`; it is changed in place.
        gates: the layers that compute gates of the inputs of convolutions:
            :func:`~senet.fuse.inputs.take_gates_of_inputs`.
    """
    place = {node: k for k, node in enumerate(gm.graph.nodes)}
    for conv in [node for node in gm.graph.nodes if node.target is F.conv2d]:
        x, *weights, stride, padding, dilation, groups = convolution_arguments(conv)
        if any(w is not None and w.op != "get_attr" for w in weights):
            continue
        chain = [conv]
        if (shortcut := _shortcut(conv)) is not None:
            chain.append(only_user(conv))
        user = only_user(chain[-1])
        name = None if user is None else ACTIVATIONS.get(user.target)
        if name is not None:
            chain.append(user)
        end = chain[-1]
        given: list[Any] = [None if w is None else attribute(gm, w.target) for w in weights]
        given += [stride, padding, dilation, groups]
        overwrites = shortcut is not None and may_overwrite(shortcut, x, chain, place)
        options: dict[str, Any] = {"activation": name, "overwrites": overwrites}
        if conv in gates:
            module = GatedInput(*given, gate=gates[conv], **options)
        else:
            module = Convolution(*given, **options)
        gm.add_submodule(conv.name, module)
        with gm.graph.inserting_before(end):
            y = gm.graph.call_module(conv.name, (x,) if shortcut is None else (x, shortcut))
        y.meta, place[y] = dict(end.meta), place[end]
        end.replace_all_uses_with(y)
        for node in reversed(chain):
            gm.graph.erase_node(node)


def _shortcut(conv: fx.Node) -> fx.Node | None:
    """Return the map that is added to the output of a convolution, if that is its only use."""
    user = only_user(conv)
    if user is None or user.target not in SUMS or user.kwargs or len(user.args) != 2:
        return None
    a, b = user.args
    other = b if a is conv else a
    x, y = tensor_of(conv), tensor_of(other)
    if a is b or x is None or y is None or x.dtype != y.dtype or not same_shape(x.shape, y.shape):
        return None
    return cast(fx.Node, other)


def may_overwrite(
    shortcut: fx.Node, x: fx.Node, chain: list[fx.Node], place: dict[fx.Node, int]
) -> bool:
    """Whether the end of ``chain`` may overwrite ``shortcut`` while a convolution reads ``x``.

    Nothing may read the shortcut afterwards, nor may ``x`` be the shortcut, or a view of it: all
    that is made of it must be new.

    Args:
        shortcut: what is added.
        x: the input of the convolution.
        chain: the calls that become one with the convolution.
        place: the order of the nodes.
    """
    others = [user for user in shortcut.users if user not in chain]
    last = all(place[user] <= place[chain[-1]] for user in others)
    return _is_new(shortcut) and shortcut is not x and last and all(map(_is_new, others))


def _is_new(node: fx.Node) -> bool:
    """Whether ``node`` makes a new map: it is neither an input nor can it be a view."""
    return node.op == "call_module" or node.target in (F.conv2d, gated_tail)


def is_pointwise(conv: fx.Node) -> bool:
    """Whether ``conv`` is a convolution of single positions with constant weights."""
    if conv.target is not F.conv2d:
        return False
    _, weight, bias, stride, padding, _, groups = convolution_arguments(conv)
    w = tensor_of(weight)
    if w is None or weight.op != "get_attr" or (bias is not None and bias.op != "get_attr"):
        return False
    return w.shape[2:] == (1, 1) and (pair(stride), pair(padding), groups) == ([1, 1], [0, 0], 1)


def layers_of(gate: Gate, gm: fx.GraphModule) -> Gate:
    """Return the layers of a gate in the graph with their weights."""
    layers: list[Any] = [attribute(gm, v.target) if isinstance(v, fx.Node) else v for v in gate]
    return Gate(*layers)


def only_user(node: fx.Node) -> Any:
    """Return the only call that reads a value, or ``None``."""
    return next(iter(node.users)) if len(node.users) == 1 else None
