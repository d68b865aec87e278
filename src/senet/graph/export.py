"""The graph of torch.export in evaluation, with the functions that TorchDynamo's graphs have.

The graph is functional: no node writes what another reads. It holds for batches of any
size and, as far as the network allows, for images of any size.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn import functional as F

from senet.graph.capture import as_written, evaluating

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
    _aten._unsafe_view.default: torch.reshape,  # a view of a copy, which is left out here
    _aten.flatten.using_ints: torch.flatten,
    _aten.unsqueeze.default: torch.unsqueeze,
    _aten.squeeze.dims: torch.squeeze,
    _aten.squeeze.dim: torch.squeeze,
}
# The functional form of operations that write their first argument.
_PURE = {
    _aten.relu_.default: _aten.relu.default,
    _aten.silu_.default: _aten.silu.default,
    _aten.hardswish_.default: _aten.hardswish.default,
    _aten.hardtanh_.default: _aten.hardtanh.default,
    _aten.sigmoid_.default: _aten.sigmoid.default,
    _aten.hardsigmoid_.default: _aten.hardsigmoid.default,
    _aten.add_.Tensor: _aten.add.Tensor,
    _aten.mul_.Tensor: _aten.mul.Tensor,
}
# Operations that are the identity in evaluation.
_SAME = (
    *(_aten.clone.default, _aten.detach.default, _aten.alias.default, _aten.contiguous.default),
)
_DROPOUTS = (
    *(_aten.dropout.default, _aten.feature_dropout.default),
    *(_aten.alpha_dropout.default, _aten.feature_alpha_dropout.default),
)
_NORM = _aten._native_batch_norm_legit_no_training.default
_END = 2**63 - 1  # the end of a slice without one


def exported(model: nn.Module, example: Tensor, any_size: bool = True) -> fx.GraphModule:
    """Return the graph of ``model`` in evaluation, whose parameters and buffers it shares.

    Args:
        model: a network of one tensor, ``[B, ...]``; it is not changed.
        example: an input, with at least two images.
        any_size: whether to keep the sizes of images open, not only their number. Where padding
            depends on the size, as TensorFlow's does, an export with open sizes takes minutes.

    Raises:
        ValueError: if PyTorch cannot export the network; the message says why.
    """
    sizes = dict.fromkeys([0, *range(2, example.dim() if any_size else 0)], Dim.AUTO)
    try:
        with as_written(model), evaluating(model), torch.no_grad(), _quiet():
            program = torch.export.export(model, (example,), dynamic_shapes=(sizes,))
            _skip_dropouts(program.graph)
            gm: Any = program.module(check_guards=False)
            if not _makes_pure(gm.graph):
                program = program.run_decompositions({})
                gm = program.module(check_guards=False)
            _leave_inputs(gm.graph)
            _spell(gm)
            if written := sorted(program.graph_signature.buffers_to_mutate.values()):
                raise ValueError(f"it writes {', '.join(written)} in evaluation")
    except Exception as error:  # a network may raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"torch.export cannot follow {type(model).__name__}: {reason}") from error
    return gm


def guards_of(gm: fx.GraphModule) -> str:
    """Return the condition on the sizes of an input under which the graph is correct."""
    x = next(node.meta["val"] for node in gm.graph.nodes if node.op == "placeholder")
    return x.fake_mode.shape_env.produce_guards_expression([x])


def holds(guards: str, shape: torch.Size) -> bool:
    """Whether ``guards`` hold for inputs of this shape.

    A single image is checked as two: torch.export specialises sizes of 1, which the number of
    images does not need.
    """
    x = torch.empty(max(shape[0], 2), *shape[1:], device="meta")
    return ShapeEnv().evaluate_guards_expression(guards, [x])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence PyTorch's messages about unbounded sizes and its own deprecated names."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _skip_dropouts(graph: fx.Graph) -> None:
    """Remove dropouts that return their input itself, which their schemas do not say."""
    for node in list(graph.nodes):
        if _does_nothing(node) and node.target in _DROPOUTS:
            # The signature of the program lists its outputs by name.
            node.replace_all_uses_with(node.args[0], lambda user: user.op != "output")
            if not node.users:
                graph.erase_node(node)


def _makes_pure(graph: fx.Graph) -> bool:
    """Replace in-place operations by functional ones; return whether no others remain.

    This is valid if the written map is new, not a view, not read afterwards, and of the type that
    the functional operation returns. PyTorch can do it for every graph, but takes as long as for
    the export.
    """
    fresh: set[fx.Node] = set()
    read: dict[fx.Node, int] = {}
    for place, node in enumerate(graph.nodes):
        for x in node.all_input_nodes:
            read[x] = place
    for place, node in enumerate(graph.nodes):
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            continue
        if node.target is _aten.batch_norm.default and node.args[5] and node.args[3] is not None:
            return False  # its schema omits that it writes the running statistics
        if schema.is_mutable:
            x = node.args[0]
            if node.target not in _PURE or x not in fresh or read[x] > place or not _is_alike(node):
                return False
            node.target = _PURE[node.target]
            fresh.add(node)
        elif all(result.alias_info is None for result in schema.returns):
            fresh.add(node)
        else:  # a view: neither it nor its base may be written
            fresh.difference_update(node.all_input_nodes)
    return True


def _is_alike(node: fx.Node) -> bool:
    """Whether all tensors that ``node`` reads have the same type: no promotion takes place."""
    values = [x.meta["val"] for x in node.all_input_nodes]
    return len({value.dtype for value in values if isinstance(value, Tensor)}) == 1


def _leave_inputs(graph: fx.Graph) -> None:
    """Remove the copies at the end of a functional graph to inputs that the network writes."""
    for node in list(graph.nodes):
        if node.target is _aten.copy_.default and node.args[0].op == "placeholder":
            node.replace_all_uses_with(node.args[1])
            graph.erase_node(node)


def _spell(gm: fx.GraphModule) -> None:
    """Replace the calls of ATen by those of PyTorch's functions, which the matcher knows."""
    graph = gm.graph
    fake = next(n.meta["val"].fake_mode for n in graph.nodes if n.op == "placeholder")
    for node in list(graph.nodes):
        node.meta["example_value"] = node.meta.get("val")
        target: Any = node.target
        if node.op == "get_attr":
            value = attribute(gm, target)
            if not isinstance(value, Tensor):
                raise ValueError("it calls an operation with a graph of its own, as torch.cond is")
            node.meta["example_value"] = fake.from_tensor(value)
        elif target in _SAME or _does_nothing(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif target is _aten.sym_size.int:
            node.op, node.target = "call_method", "size"
        elif target is _aten.expand.default:
            node.op, node.target, node.args = "call_method", "expand", (node.args[0], *node.args[1])
        elif target is _aten.expand_as.default:
            node.op, node.target = "call_method", "expand_as"
        elif target is _aten.batch_norm.default:
            x, weight, bias, mean, var, *options, _ = node.args
            node.target, node.args = F.batch_norm, (x, mean, var, weight, bias, *options)
        elif target is _NORM:
            _spell_norm(node)
        elif target in _SPELLED and not node.kwargs:
            node.target = _SPELLED[target]
    graph.eliminate_dead_code()
    gm.recompile()


def _spell_norm(node: fx.Node) -> None:
    x, weight, bias, mean, var, momentum, eps = node.args
    for user in list(node.users):
        assert user.args[1] == 0, "batch norm in evaluation has no statistics of the batch"
        user.target = F.batch_norm
        user.args = (x, mean, var, weight, bias, False, momentum, eps)


def _does_nothing(node: fx.Node) -> bool:
    """Whether ``node`` is a dropout or slice that is the identity."""
    if node.target in _DROPOUTS:
        return not node.args[2]
    if node.target is not _aten.slice.Tensor:
        return False
    start, end, step = [*node.args[2:], *(None, None, 1)[len(node.args) - 2 :]]
    return (start or 0, end or _END, step) == (0, _END, 1)


def add_attribute(gm: fx.GraphModule, name: str, value: Tensor | nn.Module) -> str:
    """Add a buffer or module to ``gm``; return its name, which no attribute of the network has."""
    while hasattr(gm, name):
        name += "_"
    if isinstance(value, Tensor):
        gm.register_buffer(name, value)
    else:
        gm.add_module(name, value)
    return name


def attribute(root: nn.Module, path: Any) -> Any:
    """Return the attribute of ``root`` at the dotted ``path``."""
    *modules, name = path.split(".")
    for module in modules:
        root = getattr(root, module)
    return getattr(root, name)
