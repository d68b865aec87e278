"""SE blocks in a network: ours, torchvision's, timm's, the tutorial's, anybody's.

A block is recognised by what its forward does, not by its name. Three functions look for it, from
wide to narrow:

:func:`gates_of`      the block returns its feature map times something that it made of the map: SE
                      of any activation and gate, and what came after SE (ECA, eSE, the channel half
                      of CBAM)
:func:`is_attention`  and that is one number per channel
:func:`se_layers`     and it is made as equations 2 to 4 say: the map's mean, two small layers with
                      an activation between them, or one layer, and a gate

The last two require a trial: the block is run on random maps, with random weights drawn for the
trial. The weights that it happens to have prove little: with zeros in the last layer, any gate is
a constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from senet.graph.capture import evaluating
from senet.graph.trace import UntraceableError, trace
from senet.graph.words import (
    LAYERS,
    NAMED_ACTIVATIONS,
    NAMED_GATES,
    NAMED_MEANS,
    NAMED_SHAPING,
    called,
    is_pointwise,
    is_product,
    name_of,
    taken_by,
)
from senet.nn import ChannelAttention, EffectiveSqueezeExcitation, SqueezeExcitation
from senet.nn.squeeze_excitation import GATES
from senet.ops import reference
from senet.ops.activation import ACTIVATIONS

Gates = Callable[..., Tensor]


def blocks_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the blocks of channel attention within ``model``, by their paths.

    Example:
        >>> from senet import create_model
        >>> list(blocks_of(create_model("se_resnet8_cifar")))
        ['layer1.0.se', 'layer2.0.se', 'layer3.0.se']
    """
    return {p: m for p, m in model.named_modules() if p and gates_of(m) is not None}


def gates_of(module: nn.Module) -> Gates | None:
    """Return the factor that ``module`` multiplies its feature map by, as a function of the map.

    The result is ``None`` if the module does not multiply its map by something that it computes.
    The factor may be one number per channel, ``[B, C]`` or ``[B, C, 1, …]``, or one per position.

    Example:
        >>> class Bare(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.fc1, self.fc2 = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        ...     def forward(self, x):
        ...         s = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu())
        ...         return x * s.sigmoid()
        >>> gates_of(Bare())(torch.ones(4, 8, 5, 5)).shape
        torch.Size([4, 8, 1, 1])
        >>> gates_of(nn.Conv2d(8, 8, 1)) is None
        True
    """
    if isinstance(module, ChannelAttention):
        return module.gates
    torchs = type(module).__module__.startswith("torch.nn")
    if torchs or next(module.children(), None) is None or next(module.parameters(), None) is None:
        return None
    return next((s for graph in _graphs(module) if (s := _factor(graph, module))), None)


def _graphs(module: nn.Module, inline: Collection[str] = ()) -> Iterator[fx.Graph]:
    """Yield the graph of ``module``; if its control flow depends on shapes, those for examples."""
    try:
        yield trace(module, inline)
        return
    except UntraceableError:
        layers = [m for m in module.modules() if isinstance(m, LAYERS)]
    # Whole blocks of a network are not run to find out that they are no gates.
    if not layers or len(layers) > 2 or not all(map(is_pointwise, layers)):
        return
    for u in _trials(module, taken_by(layers[0]), layers[0].weight):
        try:
            with evaluating(module), torch.random.fork_rng(devices=[]):
                graph = trace(module, inline, like=u)
        except UntraceableError:
            continue
        yield graph


def _factor(graph: fx.Graph, module: nn.Module) -> Gates | None:
    """Return the part of the graph that makes the other factor of the returned product."""
    x, product = _ends(graph)
    if x is None or not is_product(product) or len(product.args) != 2:
        return None
    factors = [a for a in product.args if a is not x]
    if len(factors) != 1 or not isinstance(factors[0], fx.Node) or factors[0].op == "get_attr":
        return None
    part, copies = fx.Graph(), {}
    for node in graph.nodes:
        copies[node] = part.node_copy(node, copies.__getitem__)
        if node is factors[0]:
            break
    part.output(copies[factors[0]])
    return fx.GraphModule(module, part)


def _ends(graph: fx.Graph) -> tuple[fx.Node | None, Any]:
    """Return the input of a graph, if it is a single one, and its output."""
    x, (output,) = ([n for n in graph.nodes if n.op == op] for op in ("placeholder", "output"))
    return (x[0] if len(x) == 1 else None), output.args[0]


@torch.no_grad()
def is_attention(module: nn.Module | None) -> bool:
    """Return whether a module rescales channels by what it sees: SE or one of its successors.

    Example:
        >>> is_attention(SqueezeExcitation(8, 2)), is_attention(nn.Conv2d(8, 8, 1))
        (True, False)
    """
    if module is None:
        return False
    if isinstance(module, ChannelAttention) or se_layers(module) is not None:
        return True
    return gates_of(module) is not None and _one_per_channel(module)


def _one_per_channel(module: nn.Module) -> bool:
    """Return whether the gates of ``module`` are one number per channel, whatever its weights."""
    layers = [m for m in module.modules() if isinstance(m, LAYERS)]
    if not layers:
        return False
    with _drawn(module):
        gates = gates_of(module)  # again, since a graph holds parameters of the module itself
        assert gates is not None
        # A graph module that fails prints its code, whoever catches the error.
        run = fx.Interpreter(gates).run if isinstance(gates, fx.GraphModule) else gates
        for u in _trials(module, taken_by(layers[0]), layers[0].weight):
            try:
                s = run(u)
            except Exception:  # it is anybody's code, and may be for other maps
                continue
            s = s[..., None] if s.dim() == 2 else s.flatten(2)
            return s.shape[:2] == u.shape[:2] and (s.is_meta or bool((s == s[..., :1]).all()))
    return False


@dataclass(frozen=True)
class Layers:
    """The layers of an SE block, by their places in a module.

    Attributes:
        paths: the paths of the layers from C to R and from R to C channels, or of the one from C to
            C.
        gate: a name of :data:`senet.nn.squeeze_excitation.GATES`.
        activation: that between two layers, a name of :data:`senet.ops.activation.ACTIVATIONS`.
    """

    paths: tuple[str, ...]
    gate: str
    activation: str = "relu"

    def excite(self, z: Tensor, module: nn.Module) -> Tensor:
        """Return s, equation 3, for ``z``, ``[B, C]``, with the layers of ``module``."""
        first, *second = (module.get_submodule(path) for path in self.paths)
        w1, b1, gate = _matrix(first), _bias(first), GATES[self.gate]()
        if not second:  # effective SE: there is no bottleneck
            return gate(F.linear(z, w1, b1))
        activation = ACTIVATIONS[self.activation].function
        return reference.excite(z, w1, b1, _matrix(second[0]), _bias(second[0]), activation, gate)


@torch.no_grad()
def se_layers(module: nn.Module) -> Layers | None:
    """Return the layers of an SE block, or ``None`` if the module is not one.

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
        name = NAMED_ACTIVATIONS.get(type(module.activation).__name__.lower())
        if module.squeeze != "avg" or name is None:
            return None
        return Layers(("fc1", "fc2"), module.gate_name, name)
    if isinstance(module, EffectiveSqueezeExcitation):
        return Layers(("fc",), "hardsigmoid")
    if not _has_se_layers(module):
        return None
    groups = [p for p, m in module.named_modules() if p and _groups_layers(m)]
    found = next((f for graph in _graphs(module, groups) if (f := _read(graph, module))), None)
    return found if found is not None and _agrees(module, found) else None


def _groups_layers(module: nn.Module) -> bool:
    """Return whether ``module`` holds layers of a block: a sequence, or mmcv's ``ConvModule``."""
    return isinstance(module, nn.Sequential) or any(
        isinstance(m, LAYERS) for m in module.children()
    )


def _has_se_layers(module: nn.Module) -> bool:
    """Return whether the layers are those of an SE block: C → R → C, or C → C, and no others."""
    layers = [m for m in module.modules() if isinstance(m, LAYERS)]
    if len(layers) not in (1, 2) or not all(map(is_pointwise, layers)):
        return False
    R, C = _matrix(layers[0]).shape
    others = set(module.parameters()) - {p for m in layers for p in m.parameters()}
    return _matrix(layers[-1]).shape == (C, R if len(layers) == 2 else C) and not others


def _matrix(layer: nn.Module) -> Tensor:
    """Return the weight of a pointwise convolution or a linear layer, ``[outputs, inputs]``."""
    assert isinstance(layer.weight, Tensor)
    return layer.weight.flatten(1)


def _bias(layer: nn.Module) -> Tensor | None:
    assert isinstance(layer.bias, Tensor | None)
    return layer.bias


def _read(graph: fx.Graph, module: nn.Module) -> Layers | None:
    """Walk back from the returned value: product, gate, layers, mean, input."""
    x, product = _ends(graph)
    if x is None or not is_product(product):
        return None
    factors = [_unshaped(a, module) for a in product.args]
    if len(factors) != 2 or x not in factors or factors[0] is factors[1]:
        return None
    gate = factors[1] if factors[0] is x else factors[0]
    if (name := name_of(gate, module)) not in NAMED_GATES:
        return None
    layers, activation = [_before(gate, module)], "relu"
    before = _before(layers[0], module)
    if (between := name_of(before, module)) in NAMED_ACTIVATIONS:
        activation = NAMED_ACTIVATIONS[between]
        layers.insert(0, _before(before, module))
        before = _before(layers[0], module)
    if not all(isinstance(called(layer, module), LAYERS) for layer in layers):
        return None
    if name_of(before, module) not in NAMED_MEANS or _before(before, module) is not x:
        return None
    return Layers(tuple(str(layer.target) for layer in layers), NAMED_GATES[name], activation)


def _before(node: Any, module: nn.Module) -> Any:
    """Return what ``node`` takes, skipping all that only changes shapes."""
    first = node.args[0] if isinstance(node, fx.Node) and node.args else None
    return _unshaped(first, module)


def _unshaped(node: Any, module: nn.Module) -> Any:
    """Return ``node``, or what it comes from if it only changes shapes."""
    shaping = isinstance(node, fx.Node) and node.op != "placeholder"
    return _before(node, module) if shaping and name_of(node, module) in NAMED_SHAPING else node


def _agrees(module: nn.Module, layers: Layers) -> bool:
    """Return whether the module computes equations 2 to 4, on random maps with random weights."""
    if _matrix(module.get_submodule(layers.paths[0])).is_meta:
        return True
    with _drawn(module):
        w1 = _matrix(module.get_submodule(layers.paths[0]))
        for u in _trials(module, w1.shape[1], w1):
            try:
                y = type(module).forward(module, u.clone())
            except Exception:  # it wants another number of dimensions
                continue
            expected = reference.scale(u, layers.excite(reference.squeeze(u), module))
            tolerance = 64 * torch.finfo(u.dtype).eps
            return torch.allclose(y, expected, rtol=tolerance, atol=tolerance)
    return False


def _trials(module: nn.Module, channels: int, like: Tensor) -> Iterator[Tensor]:
    """Yield random maps ``[8, channels, *space]`` of different means, of the type of ``like``.

    They are images, then sequences, then volumes; volumes first where a layer is for these, which
    would take a batch of images for a volume.
    """
    volumes = any(type(m).__name__.endswith("3d") for m in module.modules())
    for dims in (3, 2, 1) if volumes else (2, 1, 3):
        generator = torch.Generator().manual_seed(0)
        u = torch.randn(8, channels, *(3, 5, 2)[:dims], generator=generator)
        u += 2 * torch.randn(8, channels, *(1,) * dims, generator=generator)
        yield u.to(like)


@contextmanager
def _drawn(module: nn.Module) -> Iterator[None]:
    """Put ``module`` in evaluation mode, with random weights; restore it afterwards.

    Parameters and buffers are exchanged for others and put back, not overwritten. Those of the
    trial are float32 at least: results in half precision would agree too easily.
    """
    modules = [m for m in module.modules() if not isinstance(m, torch.jit.ScriptModule)]
    before = [(m, dict(vars(m)), dict(m._parameters), dict(m._buffers)) for m in modules]
    generator = torch.Generator().manual_seed(0)
    made: dict[int, Any] = {}  # by the id of what it stands for: weights may be shared

    def stand_in(t: Tensor | None) -> Any:
        if t is None or t.is_meta or not t.is_floating_point():
            return t
        if id(t) not in made:
            made[id(t)] = t.detach().to(torch.promote_types(t.dtype, torch.float32), copy=True)
            if isinstance(t, nn.Parameter):
                value = torch.randn(t.shape, generator=generator) / math.prod(t.shape[1:]) ** 0.5
                made[id(t)] = nn.Parameter(made[id(t)].copy_(value), t.requires_grad)
        return made[id(t)]

    try:
        for m, _, parameters, buffers in before:
            m.training = False
            m._parameters.update({name: stand_in(p) for name, p in parameters.items()})
            m._buffers.update({name: stand_in(b) for name, b in buffers.items()})
        yield
    finally:
        for m, held, parameters, buffers in before:
            vars(m).update(held)
            m._parameters.update(parameters)
            m._buffers.update(buffers)
