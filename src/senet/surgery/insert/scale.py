"""The end of a branch before what only scales or reorders its feature map.

A branch may end in a layer scale: a product with numbers that are learnt, one for each channel, and
are the same for all images (arXiv 2103.17239). ConvNeXt's branch computes with the channels as the
last dimension in between. SE belongs before both: it then sees the feature map as the branch made
it, not scaled to a millionth, as a layer scale begins.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from senet.graph.trace import UntraceableError
from senet.graph.words import NOTHING_IN_EVALUATION, is_product
from senet.surgery.insert.past import Past
from senet.surgery.reading import is_called, read

_PERMUTATIONS = (torch.permute, "permute")


def before_scales(past: Past, node: fx.Node) -> tuple[fx.Node, bool]:
    """Return what makes the feature map of a branch, and whether its channels are last there.

    Passed over are calls that do nothing in evaluation, products with what is the same for all
    images, and a permutation of channels from the last dimension to the second.
    """
    last = False
    while True:
        before = _unscaled(past, node)
        if before is None and not last:
            before = _permuted(past, node)
            last = before is not None
        if before is None:
            return node, last
        node = before


def _unscaled(past: Past, node: fx.Node) -> fx.Node | None:
    """Return the map that ``node`` leaves as it is, or multiplies with numbers of no image."""
    region = past.region
    if is_product(node):
        maps = [one for one in node.all_input_nodes if past.sees_input(one)]
        return maps[0] if len(maps) == 1 and node.args.count(maps[0]) == 1 else None
    if len(node.all_input_nodes) != 1:
        return None
    idle = is_called(node, NOTHING_IN_EVALUATION, region.module)
    made = _what_it_does(region.called(node))
    return node.all_input_nodes[0] if idle or _scales(made) else None


def _permuted(past: Past, node: fx.Node) -> fx.Node | None:
    """Return the map whose last dimension ``node`` makes the second."""
    made = _what_it_does(past.region.called(node)) or node
    if made.op not in ("call_function", "call_method") or made.target not in _PERMUTATIONS:
        return None
    dims: Any = made.kwargs.get("dims", made.args[1:])
    while len(dims) == 1 and isinstance(dims[0], list | tuple):
        (dims,) = dims
    moved = tuple(dims) == (0, len(dims) - 1, *range(1, len(dims) - 1)) and len(dims) > 2
    return node.all_input_nodes[0] if moved else None


def _what_it_does(module: nn.Module | None) -> fx.Node | None:
    """Return the last call in the forward of a module without others in it, if it can be read."""
    if module is None or next(module.children(), None) is not None:
        return None
    try:
        graph = read(module)
    except UntraceableError:
        return None
    (output,) = (node for node in graph.nodes if node.op == "output")
    return output.args[0] if isinstance(output.args[0], fx.Node) else None


def _scales(node: fx.Node | None) -> bool:
    """Return whether ``node`` multiplies the input of its graph with numbers of the module."""
    if node is None or not is_product(node):
        return False
    factors = node.all_input_nodes
    inputs = [one for one in factors if one.op == "placeholder"]
    others = [one for one in factors if one.op != "placeholder"]
    return len(inputs) == 1 and node.args.count(inputs[0]) == 1 and all(map(_is_fixed, others))


def _is_fixed(node: fx.Node) -> bool:
    """Return whether nothing that ``node`` is computed from is an input."""
    return node.op != "placeholder" and all(map(_is_fixed, node.all_input_nodes))
