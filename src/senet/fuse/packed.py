"""The packing of a graph's convolutions, with the addition and activation after them inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import fx
from torch.nn import functional as F

from senet.fuse.convolution import Convolution, pair
from senet.fuse.gated import GatedInput
from senet.graph.export import add_attribute, attribute
from senet.graph.value import same_shape, tensor_of
from senet.graph.words import ACTIVATIONS, SUMS, convolution_arguments
from senet.ops.gate import Gate


def pack_convolutions(gm: fx.GraphModule, gates: Mapping[fx.Node, Gate]) -> None:
    """Replace every two-dimensional convolution of the graph by a :class:`Convolution`.

    Args:
        gm: the result of :func:`~senet.graph.export.exported`; it is changed in place.
        gates: the layers that compute gates of the inputs of convolutions:
            :func:`~senet.fuse.inputs.take_gates_of_inputs`.
    """
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
        if conv in gates:
            module = GatedInput(*given, gate=gates[conv], activation=name)
        else:
            module = Convolution(*given, activation=name)
        target = add_attribute(gm, conv.name, module)
        with gm.graph.inserting_before(end):
            y = gm.graph.call_module(target, (x,) if shortcut is None else (x, shortcut))
        y.meta = dict(end.meta)
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
