"""Squeeze-and-excitation in other people's words: torchvision's, timm's, the tutorial's, anybody's.

A block is known by what its forward does, not by its name: the map's mean, two small layers with a
ReLU between them, a gate, and the product with the map. What has this form is run once beside
equations 2 to 4, and believed when the results agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from senet.nn import SqueezeExcitation
from senet.ops import fused, reference
from senet.surgery.graph import UntraceableError, called, trace

# Names of modules, functions and methods, lower case, without underscores: other projects define
# activations of their own by these names.
_GATES = {
    "sigmoid": "sigmoid",
    "hardsigmoid": "hardsigmoid",
    "hardsigmoidme": "hardsigmoid",
    "hardsigmoidjit": "hardsigmoid",
    "tanh": "tanh",
}
_ACTIVATIONS = {"relu": "relu"}
_SHAPING = {
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "permute", "expand", "expandas",
    "contiguous", "identity", "getitem", "viewas", "reshapeas", "to",
}  # fmt: skip
_MEANS = {"mean", "adaptiveavgpool1d", "adaptiveavgpool2d", "adaptiveavgpool3d", "avgpool"}


@dataclass(frozen=True)
class Layers:
    """Where in a module the two layers of an SE block are.

    Attributes:
        reduce: path of the layer from C to R channels.
        expand: path of the layer from R to C channels.
        gate: a name of :data:`senet.ops.fused.GATES`.
    """

    reduce: str
    expand: str
    gate: str

    def excitation(self, module: nn.Module) -> fused.Excitation:
        """The layers of ``module`` as the fused passes take them."""
        reduce, expand = module.get_submodule(self.reduce), module.get_submodule(self.expand)
        return fused.Excitation(
            _matrix(reduce), _bias(reduce), _matrix(expand), _bias(expand), self.gate
        )


def se_layers(module: nn.Module) -> Layers | None:
    """The layers of an SE block, or ``None`` if the module is not one.

    Example:
        >>> class Tutorial(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.pool = nn.AdaptiveAvgPool2d(1)
        ...         self.fc = nn.Sequential(
        ...             nn.Linear(8, 2, bias=False), nn.ReLU(), nn.Linear(2, 8, bias=False),
        ...             nn.Sigmoid(),
        ...         )
        ...     def forward(self, x):
        ...         b, c, _, _ = x.size()
        ...         s = self.fc(self.pool(x).view(b, c)).view(b, c, 1, 1)
        ...         return x * s.expand_as(x)
        >>> se_layers(Tutorial())
        Layers(reduce='fc.0', expand='fc.2', gate='sigmoid')
        >>> se_layers(nn.Linear(3, 3)) is None
        True
    """
    if isinstance(module, SqueezeExcitation):
        usual = module.squeeze == "avg" and type(module.activation) is nn.ReLU
        return Layers("fc1", "fc2", module.gate_name) if usual else None
    if not _has_two_layers(module):
        return None
    sequential = [p for p, m in module.named_modules() if p and isinstance(m, nn.Sequential)]
    try:
        found = _read(trace(module, sequential), module)
    except UntraceableError:
        return None
    return found if found is not None and _agrees(module, found) else None


def _has_two_layers(module: nn.Module) -> bool:
    """Whether a look at its layers is worth a closer one: C → R → C, pointwise, and no others."""
    layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    if len(layers) != 2 or not all(_is_pointwise(m) for m in layers):
        return False
    (C, R), (R2, C2) = (_matrix(m).shape[::-1] for m in layers)
    others = set(module.parameters()) - {p for m in layers for p in m.parameters()}
    return C == C2 and R == R2 and not others


def _is_pointwise(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Linear):
        return True
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    return layer.groups == 1 and all(k == 1 for k in layer.kernel_size)


def _matrix(layer: nn.Module) -> Tensor:
    """The weight of a pointwise convolution or a linear layer, ``[outputs, inputs]``."""
    assert isinstance(layer.weight, Tensor)
    return layer.weight.flatten(1)


def _bias(layer: nn.Module) -> Tensor | None:
    assert isinstance(layer.bias, Tensor | None)
    return layer.bias


def _read(graph: fx.Graph, module: nn.Module) -> Layers | None:
    """Walk back from what is returned: product, gate, layer, ReLU, layer, mean, the map."""
    (x, *more), (output,) = (
        [n for n in graph.nodes if n.op == op] for op in ("placeholder", "output")
    )
    product = output.args[0]
    if more or not isinstance(product, fx.Node) or _name(product, module) not in ("mul", "imul"):
        return None
    factors = [_unshaped(a, module) for a in product.args]
    if len(factors) != 2 or x not in factors or factors[0] is factors[1]:
        return None
    gate = factors[1] if factors[0] is x else factors[0]
    expand = _unshaped(_input(gate), module)
    activation = _unshaped(_input(expand), module)
    reduce = _unshaped(_input(activation), module)
    mean = _unshaped(_input(reduce), module)
    steps = (gate, expand, activation, reduce, mean)
    if not all(isinstance(step, fx.Node) for step in steps):
        return None
    chain = (
        _name(gate, module) in _GATES
        and _name(activation, module) in _ACTIVATIONS
        and all(
            isinstance(called(n, module), nn.Linear | nn.Conv1d | nn.Conv2d)
            for n in (expand, reduce)
        )
        and _name(mean, module) in _MEANS
        and _unshaped(_input(mean), module) is x
    )
    if not chain:
        return None
    return Layers(str(reduce.target), str(expand.target), _GATES[_name(gate, module)])


def _input(node: Any) -> Any:
    return node.args[0] if isinstance(node, fx.Node) and node.args else None


def _unshaped(node: Any, module: nn.Module) -> Any:
    """Where ``node`` comes from, when all that only changes shapes is passed over."""
    while isinstance(node, fx.Node) and node.op != "placeholder":
        if _name(node, module) not in _SHAPING:
            return node
        node = _input(node)
    return node


def _name(node: fx.Node, module: nn.Module) -> str:
    """What ``node`` calls, in one spelling for modules, functions and methods."""
    inner = called(node, module)
    target: Any = type(inner) if inner is not None else node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    return name.lower().replace("_", "")


@torch.no_grad()
def _agrees(module: nn.Module, layers: Layers) -> bool:
    """Whether the module does on random maps what equations 2 to 4 do."""
    w1, b1, w2, b2, gate, _ = layers.excitation(module)
    if w1.is_meta:
        return True
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(2, w1.shape[1], 3, 5, generator=generator).to(w1)
    u = u + torch.arange(2, device=u.device).reshape(2, 1, 1, 1)
    try:
        y = type(module).forward(module, u.clone())
    except Exception:  # it wants another number of dimensions: not a block for images
        return False
    s = reference.excite(reference.squeeze(u), w1, b1, w2, b2, F.relu, fused.GATES[gate].function)
    tolerance = 64 * torch.finfo(u.dtype).eps
    return torch.allclose(y, reference.scale(u, s), rtol=tolerance, atol=tolerance)
