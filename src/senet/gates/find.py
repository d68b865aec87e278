"""Squeeze-and-excitation in other people's words: torchvision's, timm's, the tutorial's, anybody's.

A block is known by what its forward does, not by its name: the map's mean, two small layers with an
activation between them, or one, a gate, and the product with the map. What has this form is run
once beside equations 2 to 4, and believed when the results agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from senet.graph.trace import UntraceableError, called, trace
from senet.nn import EffectiveSqueezeExcitation, SqueezeExcitation
from senet.nn.squeeze_excitation import GATES
from senet.ops import reference
from senet.ops.activation import ACTIVATIONS

# Names of modules, functions and methods, lower case, without underscores: other projects define
# activations of their own by these names.
_GATES = {
    "sigmoid": "sigmoid",
    "hardsigmoid": "hardsigmoid",
    "hardsigmoidme": "hardsigmoid",
    "hardsigmoidjit": "hardsigmoid",
    "tanh": "tanh",
}
_ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "silu": "silu",
    "swish": "silu",
    "swishme": "silu",
    "hardswish": "hardswish",
}
_SHAPING = {
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "permute", "expand", "expandas",
    "contiguous", "identity", "getitem", "viewas", "reshapeas", "to",
}  # fmt: skip
_MEANS = {"mean", "adaptiveavgpool1d", "adaptiveavgpool2d", "adaptiveavgpool3d", "avgpool"}


@dataclass(frozen=True)
class Layers:
    """Where in a module the layers of an SE block are.

    Attributes:
        paths: of the layers from C to R and from R to C channels; or of the one from C to C.
        gate: a name of :data:`senet.nn.squeeze_excitation.GATES`.
        activation: between two layers, a name of :data:`senet.ops.activation.ACTIVATIONS`.
    """

    paths: tuple[str, ...]
    gate: str
    activation: str = "relu"

    def excite(self, z: Tensor, module: nn.Module) -> Tensor:
        """Equation 3 with the layers of ``module``: gates ``[B, C]`` of the squeezed map ``z``."""
        first, *second = (module.get_submodule(path) for path in self.paths)
        h = F.linear(z, _matrix(first), _bias(first))
        if second:
            h = ACTIVATIONS[self.activation].function(h)
            h = F.linear(h, _matrix(second[0]), _bias(second[0]))
        return GATES[self.gate]()(h)


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
        Layers(paths=('fc.0', 'fc.2'), gate='sigmoid', activation='relu')
        >>> se_layers(nn.Linear(3, 3)) is None
        True
    """
    if isinstance(module, SqueezeExcitation):
        name = _ACTIVATIONS.get(type(module.activation).__name__.lower())
        if module.squeeze != "avg" or name is None:
            return None
        return Layers(("fc1", "fc2"), module.gate_name, name)
    if isinstance(module, EffectiveSqueezeExcitation):
        return Layers(("fc",), "hardsigmoid")
    if not _has_its_layers(module):
        return None
    sequential = [p for p, m in module.named_modules() if p and isinstance(m, nn.Sequential)]
    try:
        found = _read(trace(module, sequential), module)
    except UntraceableError:
        return None
    return found if found is not None and _agrees(module, found) else None


def _has_its_layers(module: nn.Module) -> bool:
    """Whether a look at its layers is worth a closer one: C → R → C, or C → C, and no others."""
    layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    if len(layers) not in (1, 2) or not all(_is_pointwise(m) for m in layers):
        return False
    R, C = _matrix(layers[0]).shape
    others = set(module.parameters()) - {p for m in layers for p in m.parameters()}
    return _matrix(layers[-1]).shape == (C, R if len(layers) == 2 else C) and not others


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
    """Walk back from what is returned: product, gate, layers, mean, the map."""
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
    if (name := _name(gate, module)) not in _GATES:
        return None
    layers, activation = [_unshaped(_input(gate), module)], "relu"
    before = _unshaped(_input(layers[0]), module)
    if (between := _name(before, module)) in _ACTIVATIONS:
        activation = _ACTIVATIONS[between]
        layers.insert(0, _unshaped(_input(before), module))
        before = _unshaped(_input(layers[0]), module)
    if not all(_is_layer(layer, module) for layer in layers):
        return None
    if _name(before, module) not in _MEANS or _unshaped(_input(before), module) is not x:
        return None
    return Layers(tuple(str(layer.target) for layer in layers), _GATES[name], activation)


def _is_layer(node: Any, module: nn.Module) -> bool:
    layer = called(node, module) if isinstance(node, fx.Node) else None
    return isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)


def _input(node: Any) -> Any:
    return node.args[0] if isinstance(node, fx.Node) and node.args else None


def _unshaped(node: Any, module: nn.Module) -> Any:
    """Where ``node`` comes from, when all that only changes shapes is passed over."""
    while isinstance(node, fx.Node) and node.op != "placeholder":
        if _name(node, module) not in _SHAPING:
            return node
        node = _input(node)
    return node


def _name(node: Any, module: nn.Module) -> str:
    """What ``node`` calls, in one spelling for modules, functions and methods; or nothing."""
    if not isinstance(node, fx.Node):
        return ""
    inner = called(node, module)
    target: Any = type(inner) if inner is not None else node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    return name.lower().replace("_", "")


@torch.no_grad()
def _agrees(module: nn.Module, layers: Layers) -> bool:
    """Whether the module does on random maps what equations 2 to 4 do."""
    w1 = _matrix(module.get_submodule(layers.paths[0]))
    if w1.is_meta:
        return True
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(2, w1.shape[1], 3, 5, generator=generator).to(w1)
    u = u + torch.arange(2, device=u.device).reshape(2, 1, 1, 1)
    try:
        y = type(module).forward(module, u.clone())
    except Exception:  # it wants another number of dimensions: not a block for images
        return False
    s = layers.excite(reference.squeeze(u), module)
    tolerance = 64 * torch.finfo(u.dtype).eps
    return torch.allclose(y, reference.scale(u, s), rtol=tolerance, atol=tolerance)
