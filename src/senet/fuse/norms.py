"""Folding of the batch norms of an exported graph into the convolutions before them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from senet.graph.export import add_attribute, attribute
from senet.graph.match import is_batch_norm, learns, norm_arguments
from senet.graph.value import tensor_of
from senet.graph.words import CONVOLUTION_ARGUMENTS, convolution_arguments


def fold_norms(gm: fx.GraphModule) -> None:
    """Fold each batch norm into its convolution, if nothing else reads the map between them.

    With a = γ/σ, batch norm of W ∗ x + b is (a W) ∗ x + a (b − μ) + β.

    Args:
        gm: the result of :func:`~senet.graph.export.exported`; it is changed in place.
    """
    for node in list(gm.graph.nodes):
        if is_batch_norm(node) and not learns(node):
            given = norm_arguments(node)
            conv = given["input"]
            if (
                conv.target in CONVOLUTION_ARGUMENTS
                and len(conv.users) == 1
                and _constants(conv, node)
            ):
                _fold(gm, conv, given)
                node.replace_all_uses_with(conv)
                gm.graph.erase_node(node)


def _constants(conv: fx.Node, norm: fx.Node) -> bool:
    """Whether all arguments but the map are constants: some networks compute their weights."""
    x, *_ = convolution_arguments(conv)
    inputs = {*conv.all_input_nodes, *norm.all_input_nodes} - {x, conv}
    return all(node.op == "get_attr" for node in inputs)


def _fold(gm: fx.GraphModule, conv: fx.Node, norm: dict[str, Any]) -> None:
    x, W, b, *options = convolution_arguments(conv)
    mean, var, γ, β = (
        _number(gm, norm[name], otherwise)
        for name, otherwise in (("running_mean", 0), ("running_var", 1), ("weight", 1), ("bias", 0))
    )
    a = γ / torch.sqrt(var + norm["eps"])
    folded = _number(gm, W, 1) * a.reshape(-1, *(1,) * (tensor_of(W).dim() - 1))  # type: ignore[union-attr]
    bias = a * (_number(gm, b, 0) - mean) + β
    with gm.graph.inserting_before(conv):
        weight = _constant(gm, f"{conv.name}_weight", folded, like=W)
        bias = _constant(gm, f"{conv.name}_bias", bias, like=W)
    conv.args, conv.kwargs = (x, weight, bias, *options), {}


def _number(gm: fx.GraphModule, node: Any, otherwise: float) -> Tensor:
    """Return a constant of the graph in double precision."""
    if node is None:
        return torch.tensor(otherwise, dtype=torch.float64)
    return attribute(gm, node.target).detach().double()


def _constant(gm: fx.GraphModule, name: str, value: Tensor, like: Any) -> fx.Node:
    """Add a constant to the graph."""
    model = tensor_of(like)
    assert model is not None
    node = gm.graph.get_attr(add_attribute(gm, name, value.to(model.dtype)))
    node.meta["example_value"] = model.new_empty(value.shape)
    return node
