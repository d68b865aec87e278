"""The recognition of calls and modules: products, sums, norms, convolutions, activations.

Code that rewrites a graph recognises functions by identity (``PRODUCTS`` and the other sets of
targets). Code that only reads a network, and verifies its reading in a trial, recognises them by
name, since other projects define modules and functions under the names that PyTorch uses.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase

# Targets of calls: functions, and the names of methods.
SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
PRODUCTS = (operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_", "multiply")
INPLACE = (operator.iadd, operator.imul, "add_", "mul_")
CONCATENATIONS = (torch.cat, torch.concat)
ACTIVATIONS: dict[Any, str] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"), "relu"),
    F.relu6: "relu6",
    F.silu: "silu",
    F.hardswish: "hardswish",
}
"""The activations that the passes compute, and their names there."""

# PyTorch's names for the first arguments of functions with weights.
NORM_ARGUMENTS: dict[Any, tuple[str, ...]] = {
    F.batch_norm: ("input", "running_mean", "running_var", "weight", "bias"),
    F.instance_norm: ("input", "running_mean", "running_var", "weight", "bias"),
    F.group_norm: ("input", "num_groups", "weight", "bias"),
}
CONVOLUTION_ARGUMENTS: dict[Any, tuple[str, ...]] = dict.fromkeys(
    (F.conv1d, F.conv2d, F.conv3d),
    ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LAYERS = (nn.Linear, *CONVOLUTIONS)

# Names of modules, functions and methods as `name_of` spells them: whole names.
NAMED_GATES = {
    "sigmoid": "sigmoid",
    "hardsigmoid": "hardsigmoid",
    "hardsigmoidme": "hardsigmoid",
    "hardsigmoidjit": "hardsigmoid",
    "tanh": "tanh",
}
NAMED_ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "silu": "silu",
    "swish": "silu",
    "swishme": "silu",
    "hardswish": "hardswish",
}
# A pool of a fixed size is a mean only of maps of this size, which a trial shows.
NAMED_MEANS = {
    "mean", "avgpool", "avgpool1d", "avgpool2d", "avgpool3d",
    "adaptiveavgpool1d", "adaptiveavgpool2d", "adaptiveavgpool3d",
}  # fmt: skip
NAMED_SHAPING = {
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "permute", "expand", "expandas",
    "contiguous", "identity", "getitem", "viewas", "reshapeas", "to",
}  # fmt: skip

# Parts of such names.
LIKE_ACTIVATIONS = ("elu", "swish", "silu", "mish", "tanh", "sigmoid")
NOTHING_IN_EVALUATION = ("identity", "drop", "stochasticdepth")
KEEP_CHANNELS = (*LIKE_ACTIVATIONS, *NOTHING_IN_EVALUATION, "pool", "interpolate", "upsample")
LOOK_AT_ALL = ("mean", "adaptive", "softmax", "matmul", "bmm", "attention")
"""Operations that mix all positions of a map."""


def convolution_arguments(node: fx.Node) -> tuple[Any, ...]:
    """Return input, weight, bias, stride, padding, dilation and groups of a call.

    Example:
        >>> graph = fx.Graph()
        >>> x, w = graph.placeholder("x"), graph.placeholder("w")
        >>> convolution_arguments(graph.call_function(F.conv2d, (x, w), {"padding": 1}))
        (x, w, None, 1, 1, 1, 1)
    """
    names = CONVOLUTION_ARGUMENTS[node.target]
    otherwise = dict(zip(names, (None, None, None, 1, 0, 1, 1), strict=True))
    return tuple({**otherwise, **dict(zip(names, node.args, strict=False)), **node.kwargs}.values())


def called(node: Any, module: nn.Module) -> nn.Module | None:
    """Return the module that ``node`` calls, if it calls one with a single input."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    if len(node.args) != 1 or node.kwargs:
        return None
    return module.get_submodule(str(node.target))


def name_of(node: Any, module: nn.Module) -> str:
    """Return the name of what ``node`` calls, in one spelling for modules, functions and methods.

    Example:
        >>> graph = fx.Graph()
        >>> name_of(graph.call_method("expand_as", (graph.placeholder("x"),)), nn.Identity())
        'expandas'
    """
    if not isinstance(node, fx.Node):
        return ""
    inner = called(node, module)
    target: Any = type(inner) if inner is not None else node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    return name.lower().replace("_", "")


def is_addition(node: fx.Node) -> bool:
    """Whether ``node`` adds two maps."""
    maps = len(node.args) == 2 and all(isinstance(a, fx.Node) for a in node.args)
    return _calls(node, SUMS) and maps and not node.kwargs


def is_product(node: Any) -> bool:
    """Whether ``node`` multiplies, maps or numbers."""
    return isinstance(node, fx.Node) and _calls(node, PRODUCTS)


def _calls(node: fx.Node, targets: tuple[Any, ...]) -> bool:
    return node.op in ("call_function", "call_method") and node.target in targets


def concatenated(node: Any) -> list[fx.Node]:
    """Return the maps whose channels ``node`` concatenates; an empty list if it does not."""
    if not isinstance(node, fx.Node) or node.target not in CONCATENATIONS:
        return []
    pieces: Any
    pieces, dim, *_ = (*node.args, node.kwargs.get("dim", 0), None)
    maps = isinstance(pieces, list | tuple) and all(isinstance(p, fx.Node) for p in pieces)
    return list(pieces) if maps and dim in (1, -3) else []


def is_norm_module(module: nn.Module | None) -> bool:
    """Whether ``module`` is a norm per channel: batch, instance or group norm, of any library."""
    known = isinstance(module, _NormBase | nn.GroupNorm)
    return known or (module is not None and "BatchNorm" in type(module).__name__)


def is_linear_norm(module: nn.Module | None) -> bool:
    """Whether ``module`` is a norm without an activation inside, which some of timm's have."""
    return is_norm_module(module) and type(getattr(module, "act", nn.Identity())) is nn.Identity


def is_pointwise(layer: nn.Module | None) -> bool:
    """Whether ``layer`` is linear, or a convolution with a kernel of size 1 and one group."""
    if isinstance(layer, CONVOLUTIONS):
        return layer.groups == 1 and all(k == 1 for k in layer.kernel_size)
    return isinstance(layer, nn.Linear)


def taken_by(layer: nn.Module) -> int:
    """Return the number of input channels of a layer of :data:`LAYERS`."""
    assert isinstance(layer.weight, torch.Tensor)
    return layer.weight.shape[1] * int(getattr(layer, "groups", 1))  # type: ignore[arg-type]


def width(module: nn.Module | None, made: bool) -> int | None:
    """Return the output or input channels of a convolution or norm; ``None`` for others."""
    if isinstance(module, CONVOLUTIONS):
        return module.out_channels if made else module.in_channels
    if isinstance(module, _NormBase):
        return module.num_features
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    weight = getattr(module, "weight", None) if is_norm_module(module) else None
    return len(weight) if isinstance(weight, torch.Tensor) else None
