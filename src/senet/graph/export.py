"""A network as torch.export sees it, in evaluation, spelled as TorchDynamo spells what it captures.

The graph is functional: nothing in it writes what something else reads. It holds for batches of any
size and, as far as the network allows, for images of any size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim
from torch.nn import functional as F

from senet.graph.capture import as_written

_aten = torch.ops.aten
_SPELLED: dict[Any, Callable[..., Any]] = {
    _aten.conv1d.default: F.conv1d,
    _aten.conv2d.default: F.conv2d,
    _aten.conv3d.default: F.conv3d,
    _aten.linear.default: F.linear,
    _aten.relu.default: F.relu,
    _aten.silu.default: F.silu,
    _aten.hardswish.default: F.hardswish,
    _aten.hardtanh.default: F.hardtanh,
    _aten.sigmoid.default: torch.sigmoid,
    _aten.hardsigmoid.default: F.hardsigmoid,
    _aten.add.Tensor: torch.add,
    _aten.mul.Tensor: torch.mul,
    _aten.mean.dim: torch.mean,
    _aten.adaptive_avg_pool1d.default: F.adaptive_avg_pool1d,
    _aten.adaptive_avg_pool2d.default: F.adaptive_avg_pool2d,
    _aten.adaptive_avg_pool3d.default: F.adaptive_avg_pool3d,
    _aten.view.default: torch.reshape,
    _aten.reshape.default: torch.reshape,
    _aten.unsqueeze.default: torch.unsqueeze,
    _aten.squeeze.dims: torch.squeeze,
    _aten.squeeze.dim: torch.squeeze,
}
_SAME = (_aten.clone.default, _aten.detach.default, _aten.alias.default, _aten.contiguous.default)
_NORM = _aten._native_batch_norm_legit_no_training.default


def exported(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """Return the graph of ``model`` in evaluation; its parameters and buffers are those of ``model``.

    Args:
        model: takes one tensor, ``[B, ...]``; it is left as it was.
        example: an input, with at least two images.

    Raises:
        ValueError: if PyTorch cannot export the network; the message says what stands in the way.
    """
    sizes = {0: Dim.AUTO, **dict.fromkeys(range(2, example.dim()), Dim.AUTO)}
    modes = {module: module.training for module in model.modules()}
    try:
        with as_written(model), torch.no_grad():
            program = torch.export.export(model.eval(), (example,), dynamic_shapes=(sizes,))
            gm: Any = program.run_decompositions({}).module(check_guards=False)
    except Exception as error:  # a network may hold anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"torch.export cannot follow {type(model).__name__}: {reason}") from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    _spell(gm)
    return gm


def _spell(gm: fx.GraphModule) -> None:
    """Write the calls of ATen as those of PyTorch's functions, which the matcher knows."""
    fake = next(n.meta["val"].fake_mode for n in gm.graph.nodes if n.op == "placeholder")
    for node in list(gm.graph.nodes):
        node.meta["example_value"] = node.meta.get("val")
        if node.op == "get_attr":
            node.meta["example_value"] = fake.from_tensor(attribute(gm, str(node.target)))
        elif node.target in _SAME:
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)
        elif node.target is _aten.sym_size.int:
            node.op, node.target = "call_method", "size"
        elif node.target is _aten.expand.default:
            node.op, node.target, node.args = "call_method", "expand", (node.args[0], *node.args[1])
        elif node.target is _NORM:
            _spell_norm(gm.graph, node)
        elif node.target in _SPELLED and not node.kwargs:
            node.target = _SPELLED[node.target]
        elif node.target is _aten.slice.Tensor and _takes_all(node):
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)
    gm.graph.eliminate_dead_code()
    gm.recompile()


def _spell_norm(graph: fx.Graph, node: fx.Node) -> None:
    x, weight, bias, mean, var, momentum, eps = node.args
    for user in list(node.users):
        assert user.args[1] == 0, "batch norm in evaluation has no statistics of the batch"
        user.target = F.batch_norm
        user.args = (x, mean, var, weight, bias, False, momentum, eps)


def _takes_all(node: fx.Node) -> bool:
    """Whether a slice takes all there is."""
    _, *rest = node.args
    start, end, step = (*rest[1:], *(None, None, 1)[len(rest) - 1 :])
    return start in (None, 0) and (end is None or end == 2**63 - 1) and step == 1


def attribute(root: nn.Module, path: Any) -> Any:
    """Return what the dotted ``path`` leads to in ``root``."""
    *modules, name = path.split(".")
    for module in modules:
        root = getattr(root, module)
    return getattr(root, name)
