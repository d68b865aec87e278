"""Gates of the usual form in a captured graph: one or two layers and a sigmoid."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

from senet.graph.effects import undisturbed
from senet.graph.match import Tail
from senet.graph.value import same_shape, tensor_of
from senet.graph.words import ACTIVATIONS, CONVOLUTION_ARGUMENTS, convolution_arguments
from senet.ops.gate import Gate

_FUNCTIONS: dict[Any, str] = {
    **dict.fromkeys((torch.sigmoid, F.sigmoid, torch.sigmoid_, "sigmoid"), "sigmoid"),
    F.hardsigmoid: "hardsigmoid",
}
_SHAPING = (
    *(torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze, operator.getitem),
    *("flatten", "reshape", "view", "squeeze", "unsqueeze", "contiguous", "view_as"),
)


def usual_gate(t: Tail) -> tuple[Gate, list[fx.Node]] | None:
    """Return the layers of the gate of ``t``, and all calls from the squeeze to the gate.

    ``None`` if the gate has another form, or something else reads its intermediate values.
    """
    if t.gate is None or t.squeeze is None:
        return None
    node = _before_shaping(t.gate)
    if node is None or node.target not in _FUNCTIONS:
        return None
    function, activation, first = _FUNCTIONS[node.target], "relu", (None, None)
    second, node = _layer(node.args[0])
    if second is None or node is None:
        return None
    if node is not t.squeeze:
        if node.target not in ACTIVATIONS:
            return None
        activation = ACTIVATIONS[node.target]
        first, node = _layer(node.args[0])
    chain = _chain(t)
    weights = [w for w in (*(first or ()), *second) if w is not None]
    if first is None or node is not t.squeeze or chain is None or not _fit(t, first, second):
        return None
    if not undisturbed(weights, t.squeeze, t.end, set(t.chain)):
        return None
    return Gate(*first, activation, *second, function), chain


def _chain(t: Tail) -> list[fx.Node] | None:
    """Return the calls from the squeeze to the gate, if each is read by the next one only."""
    chain: list[fx.Node] = []
    node: Any = t.gate
    while node is not t.squeeze:
        chain.append(node)
        node = node.args[0]
    inside = {*chain, *t.chain}
    alone = all(inside.issuperset(node.users) for node in (*chain, t.squeeze) if node is not None)
    return chain[::-1] if alone else None


def _layer(call: Any) -> tuple[tuple[Any, Any] | None, fx.Node | None]:
    """Return weight and bias of a layer that is called on a single position, and its input."""
    node = _before_shaping(call)
    if node is None:
        return None, None
    if node.target is F.linear and not node.kwargs:
        z, weight, bias = (*node.args, None)[:3]
    elif node.target in CONVOLUTION_ARGUMENTS:
        z, weight, bias, _, padding, _, groups = convolution_arguments(node)
        padded = any(padding) if isinstance(padding, (tuple, list)) else padding not in (0, "valid")
        if padded or groups != 1:
            return None, None
    else:
        return None, None
    x, w = tensor_of(z), tensor_of(weight)
    if x is None or w is None or math.prod((*x.shape[2:], *w.shape[2:])) != 1:
        return None, None
    return (weight, bias), _before_shaping(z)


def _fit(t: Tail, first: tuple[Any, Any], second: tuple[Any, Any]) -> bool:
    """Whether the layers map all channels of the map to all channels."""
    x, w1, w2 = tensor_of(t.x), tensor_of(first[0]), tensor_of(second[0])
    assert x is not None
    assert w2 is not None
    C = x.shape[1]
    if w1 is None:
        return same_shape(w2.shape[:2], (C, C))
    return same_shape((w1.shape[1], *w2.shape[:2]), (C, C, w1.shape[0]))


def _before_shaping(node: Any) -> fx.Node | None:
    """Return the node that ``node`` reshapes, if all dimensions but the first two are 1."""
    while isinstance(node, fx.Node) and node.target in _SHAPING:
        if node.target is operator.getitem and not _is_basic(node.args[1]):
            return None
        made, of = tensor_of(node), tensor_of(node.args[0])
        if made is None or of is None or not same_shape(made.shape[:2], of.shape[:2]):
            return None
        if math.prod((*made.shape[2:], *of.shape[2:])) != 1:
            return None
        node = node.args[0]
    return node if isinstance(node, fx.Node) else None


def _is_basic(index: Any) -> bool:
    """Whether ``index`` makes a view; one with a tensor or a list may change the order."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is ... or isinstance(part, (int, slice)) for part in parts)
