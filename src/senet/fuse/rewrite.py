"""The rewriting of a captured graph, which puts its tails on the passes.

The squeeze replaces the batch norm, and the scale replaces the end of the tail. The gate between
them is not changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from senet.graph.effects import undisturbed
from senet.graph.gate import usual_gate
from senet.graph.match import Tail, asks_shape, learns, norm_arguments, tails
from senet.graph.report import Finding
from senet.graph.value import known, numbers, tensor_of
from senet.graph.where import common, path_of
from senet.graph.words import ACTIVATIONS, CONVOLUTION_ARGUMENTS, SUMS, convolution_arguments
from senet.ops import backend
from senet.ops.activated import Activated, act_scale, act_squeeze
from senet.ops.gate import Gate, gated_tail
from senet.ops.norm import Norm
from senet.ops.tail import Squeezed, mean_after, norm_scale, norm_squeeze


def rewrite(gm: fx.GraphModule, names: Mapping[str, str] | None = None) -> list[Finding]:
    """Put the tails of ``gm`` on the passes, in place, and return the findings.

    Args:
        gm: a graph captured by TorchDynamo.
        names: the paths of the modules, see :func:`~senet.graph.where.path_of`.
    """
    findings = []
    made: dict[fx.Node, fx.Node] = {}
    for t in tails(gm.graph):
        path = common(
            [path_of(node, names) for node in t.chain if node.meta.get("nn_module_stack")]
        )
        gate = usual_gate(t) if _is_inference(t) else None
        why = _why_not(t, whole=gate is not None)
        if not why:
            _replace(gm.graph, t, gate, made)
        findings.append(Finding(path, str(t), "" if why else "on the passes", why))
    if made:
        _make_linear(gm.graph)
        gm.recompile()
    return findings


def _is_inference(t: Tail) -> bool:
    """Whether ``t`` needs neither gradients nor statistics of the batch."""
    return not torch.is_grad_enabled() and (t.norm is None or not learns(t.norm))


def _why_not(t: Tail, whole: bool) -> str:
    """Return why ``t`` is left alone, else ``""``. ``whole``: it could be a single call."""
    x = tensor_of(t.x)
    assert x is not None
    if backend.pays(x, numbers(x), gate=t.gate is not None, whole=whole):
        return ""
    if backend.of(x) is backend.eager:
        return f"no backend has passes for {x.dtype} on {x.device.type}"
    return f"its map of {tuple(known(size) for size in x.shape)} is too small to gain"


def _replace(
    graph: fx.Graph,
    t: Tail,
    gate: tuple[Gate, list[fx.Node]] | None,
    made: dict[fx.Node, fx.Node],
) -> None:
    """Put ``t`` on the passes.

    Args:
        graph: the graph, which is changed.
        t: a tail of it.
        gate: the layers of the gate and their calls, if the tail becomes a single call.
        made: the squeezes and outputs of earlier tails.
    """
    x: Any = made.get(t.x, t.x)
    norm = None
    if t.norm is not None:
        given = norm_arguments(t.norm)
        x = given.pop("input")
        norm = Norm(**given)
    if gate is None:
        y, gone = _put_pair(graph, t, x, norm, made), set(t.chain)
    else:
        y, gone = _put_whole(graph, t, x, norm, gate[0]), {*t.chain, *gate[1]}
    y.meta = dict(t.end.meta)
    t.end.replace_all_uses_with(y)
    made[t.end] = y
    for node in [node for node in reversed(graph.nodes) if node in gone]:
        for user in [user for user in node.users if asks_shape(user, node)]:
            user.replace_input_with(node, x)
        graph.erase_node(node)


def _put_pair(
    graph: fx.Graph, t: Tail, x: Any, norm: Norm | None, made: dict[fx.Node, fx.Node]
) -> fx.Node:
    """Put the squeeze at the start of the tail and the scale at its end, around the gate."""
    alone, spends = _is_alone(t), _may_spend_gradient(t)
    inplace = alone and not torch.is_grad_enabled()
    with graph.inserting_before(t.chain[0]):
        if t.activation is None:
            mean = _mean_before(graph, t)
            options = (t.gate is not None, mean, alone)
            h = graph.call_function(norm_squeeze, (x, norm, *options))
        else:
            h = graph.call_function(
                act_squeeze, (x, norm, t.activation, t.gate is not None, spends)
            )
    if t.squeeze is not None:
        made[t.squeeze] = _put_squeeze(graph, t.squeeze, h)
    with graph.inserting_before(t.end):
        gate = made.get(t.gate, t.gate)  # type: ignore[arg-type]
        if t.activation is None:
            return graph.call_function(scaled, (h, gate, t.shortcut, t.relu, inplace, spends))
        return graph.call_function(activated, (h, gate, inplace))


def _put_whole(graph: fx.Graph, t: Tail, x: Any, norm: Norm | None, gate: Gate) -> fx.Node:
    """Put the whole tail, including its gate, at its end."""
    with graph.inserting_before(t.chain[0]):
        mean = _mean_before(graph, t) if t.activation is None else None
    with graph.inserting_before(t.end):
        options = (t.shortcut, t.relu, mean, _is_alone(t))
        return graph.call_function(gated_tail, (x, norm, t.activation, gate, *options))


def _is_alone(t: Tail) -> bool:
    """Whether nothing but the tail reads its map: y may overwrite it in inference, dx in training.

    The map is the output of a convolution, so it is neither a view nor an input. Overwriting it
    saves memory, which the system would have to provide page by page.
    """
    return t.x.target in CONVOLUTION_ARGUMENTS and all(
        user in t.chain or asks_shape(user, t.x) for user in t.x.users
    )


def _may_spend_gradient(t: Tail) -> bool:
    """Whether nothing can keep the gradient of the tail's map: no caller, no hook, no view.

    If others get the same gradient as well, the backward detects that when it runs.
    """
    return all(user.target in CONVOLUTION_ARGUMENTS or _is_passing(user) for user in t.end.users)


def _is_passing(node: fx.Node) -> bool:
    """Whether ``node`` is an addition whose gradient, which it passes on as it is, nobody keeps."""
    return node.target in SUMS and all(
        user.target in CONVOLUTION_ARGUMENTS
        or user.target in ACTIVATIONS
        or user.target is F.batch_norm
        or _is_passing(user)
        for user in node.users
    )


def _mean_before(graph: fx.Graph, t: Tail) -> fx.Node | None:
    """Compute the mean after a 1×1 convolution before it, in inference, if that is cheaper.

    In bottlenecks this reads a quarter of the channels. With C' = C/4 it pays from about B·N = C:
    ``python -m benchmarks.ops.early``.
    """
    conv = t.x
    if t.gate is None or torch.is_grad_enabled() or conv.target is not F.conv2d:
        return None
    h, weight, bias, stride, padding, _, groups = convolution_arguments(conv)
    x, w = tensor_of(conv), tensor_of(weight)
    if x is None or w is None:
        return None
    pointwise = (w.shape[2:], stride, padding, groups) == ((1, 1), (1, 1), (0, 0), 1)
    cheaper = w.shape[1] < w.shape[0] and numbers(x) >= w.shape[0] ** 2
    if not (pointwise and cheaper and undisturbed((h, weight, bias), conv, t.chain[0], set())):
        return None
    return graph.call_function(mean_before, (h, weight, bias))


def mean_before(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Call :func:`mean_after` with the parameters of a 1×1 convolution."""
    return mean_after(h, weight.flatten(1), bias)


def _make_linear(graph: fx.Graph) -> None:
    """Replace convolutions of maps with a single position, the layers of gates, by linear layers.

    PyTorch's convolution takes two to five times as long for them in training. For a single image
    it does not, and is not replaced: ``python -m benchmarks.ops.layers``.
    """
    for node in graph.nodes:
        if node.target not in CONVOLUTION_ARGUMENTS:
            continue
        h, weight, bias, _, padding, _, groups = convolution_arguments(node)
        x, w = tensor_of(h), tensor_of(weight)
        if x is None or w is None or x.dim() != w.dim() or x.shape[0] == 1 or groups != 1:
            continue
        bare = padding in (0, "valid") or (isinstance(padding, (tuple, list)) and not any(padding))
        if bare and math.prod((*x.shape[2:], *w.shape[2:])) == 1:
            node.target, node.args, node.kwargs = pointwise, (h, weight, bias), {}


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution of a map ``[B, C, 1, …]`` with a kernel of size 1."""
    y = F.linear(x.flatten(1), weight.flatten(1), bias)
    return y.reshape(y.shape + (1,) * (x.dim() - 2))


def _put_squeeze(graph: fx.Graph, z: fx.Node, h: fx.Node) -> fx.Node:
    value = tensor_of(z)
    assert value is not None
    with graph.inserting_before(z):
        new = graph.call_function(squeezed, (h, value.dim() - 2, value.dtype))
    new.meta = dict(z.meta)
    z.replace_all_uses_with(new)
    return new


def squeezed(h: Squeezed | Activated, dims: int, dtype: torch.dtype) -> Tensor:
    """Return z with ``dims`` trailing dimensions of 1, in the type of the network's own mean."""
    assert h.z is not None
    return h.z.to(dtype).reshape(h.z.shape + (1,) * dims)


def scaled(
    h: Squeezed, s: Tensor | None, shortcut: Tensor | None, relu: bool, *options: bool
) -> Tensor:
    """Call :func:`norm_scale` with gates in the shape of a network, ``[B, C, 1, …]``."""
    return norm_scale(h, None if s is None else _flat(s, h.x), shortcut, relu, *options)


def activated(h: Activated, s: Tensor | None, inplace: bool) -> Tensor:
    """Call :func:`act_scale` with gates in the shape of a network, ``[B, C, 1, …]``."""
    return act_scale(h, None if s is None else _flat(s, h.x), inplace)


def _flat(s: Tensor, x: Tensor) -> Tensor:
    """Return gates as ``[B, C]``."""
    if s.shape[:2] != x.shape[:2]:
        s = s.expand(*x.shape[:2], *s.shape[2:])
    return s.flatten(1)
