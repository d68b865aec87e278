"""A test of whether the images of a batch are independent, so that a batch may be split."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from senet.graph.match import learns
from senet.graph.value import fixed, tensor_of, value_of

_aten = torch.ops.aten
# Functions of one image at a time, whose first argument and result have the images in their first
# dimension; all other arguments are weights and numbers.
_ONE_BY_ONE = {
    *(F.conv1d, F.conv2d, F.conv3d, F.linear, F.batch_norm, torch.unsqueeze, torch.squeeze),
    *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, torch.flatten),
    *(_aten.max_pool2d.default, _aten.avg_pool2d.default, _aten.max_pool1d.default),
    *(_aten.max_pool3d.default, _aten.avg_pool3d.default, _aten.group_norm.default),
    *(_aten.upsample_nearest2d.vec, _aten.upsample_bilinear2d.vec, _aten.upsample_bicubic2d.vec),
    *(_aten.pad.default, _aten.constant_pad_nd.default, _aten.pixel_shuffle.default, "expand"),
}  # fmt: skip
# Functions of a map, and the index of the argument with the dimensions that they mix or cut.
_ALONG = {
    **dict.fromkeys((torch.mean, _aten.sum.dim_IntList, _aten.amax.default), 1),
    **dict.fromkeys((_aten.slice.Tensor, _aten.select.int, _aten.flip.default), 1),
    **dict.fromkeys((_aten.softmax.int, _aten._softmax.default), 1),
    **dict.fromkeys((_aten.cat.default, _aten.stack.default), 1),
    **dict.fromkeys((_aten.chunk.default, _aten.split.Tensor, _aten.split_with_sizes.default), 2),
}
_POINTWISE = {
    *(F.relu, F.silu, F.hardswish, F.hardtanh, torch.sigmoid, F.hardsigmoid),
    *(torch.add, torch.mul, "expand_as"),
}


def keeps_images_apart(graph: fx.Graph) -> bool:
    """Whether each image of the output depends on that image of the input only.

    Unknown functions are assumed to depend on all images.

    Args:
        graph: the result of :func:`~senet.graph.export.exported`.
    """
    x = next(node for node in graph.nodes if node.op == "placeholder")
    images = tensor_of(x).shape[0]  # type: ignore[union-attr]
    if fixed(images) is not None:
        return False
    batches = {x}
    for node in graph.nodes:
        if node.op == "output":
            return all(n in batches for n in node.all_input_nodes)
        if node.op in ("placeholder", "get_attr") or _is_size(node):
            continue
        if not any(n in batches or _is_size(n) for n in node.all_input_nodes):
            continue  # depends on weights only
        if not _looks_at_one(node, batches) or not _has_images(value_of(node), images):
            return False
        batches.add(node)
    return False


def _looks_at_one(node: fx.Node, batches: set[fx.Node]) -> bool:
    """Whether each image of ``node`` depends on the same image of ``batches`` only."""
    given = [n for n in node.all_input_nodes if n in batches]
    target: Any = node.target
    if target in (torch.reshape, torch.flatten, "expand"):  # the shape of the result is checked
        return given == [node.args[0]]
    if any(_is_size(n) for n in node.all_input_nodes):
        return False
    if target is F.batch_norm and learns(node):
        return False
    if target in _ONE_BY_ONE or target is operator.getitem:
        return given == [node.args[0]]
    if target in _ALONG:
        return len(given) == len(node.all_input_nodes) and not _mixes(node, _ALONG[target])
    if target is _aten.permute.default:
        return node.args[1][0] == 0  # type: ignore[index]
    if target is _aten.transpose.int:
        return 0 not in node.args[1:]
    pointwise = target in _POINTWISE or (
        isinstance(target, torch._ops.OpOverload) and torch.Tag.pointwise in target.tags
    )
    return pointwise and all(_lines_up(n, node, n in batches) for n in node.all_input_nodes)


def _mixes(node: fx.Node, place: int) -> bool:
    """Whether ``node`` may act along the first dimension, that of the images."""
    value = tensor_of(node.all_input_nodes[0])
    dims = node.args[place] if len(node.args) > place else 0
    if value is None or node.kwargs:
        return True
    listed = dims if isinstance(dims, (list, tuple)) else [dims]
    return not all(isinstance(d, int) and d % value.dim() for d in listed)


def _lines_up(operand: fx.Node, result: fx.Node, batch: bool) -> bool:
    """Whether an operand has the images of the result, or is the same for all images."""
    a, y = tensor_of(operand), tensor_of(result)
    if a is None or y is None:
        return False
    if batch:
        return a.dim() == y.dim()
    return a.dim() < y.dim() or a.shape[0] == 1


def _is_size(node: fx.Node) -> bool:
    return isinstance(value_of(node), (int, torch.SymInt))


def _has_images(value: Any, images: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_has_images(v, images) for v in value)
    if not isinstance(value, Tensor) or not value.dim() or fixed(value.shape[0]) is not None:
        return False
    return value.shape[0].node.expr == images.node.expr  # type: ignore[attr-defined]
