"""The matcher, which finds tails in a captured graph.

    batch norm → [activation] → [mean over space → anything → product with the map]
               → [+ shortcut] → [ReLU]

The matcher knows functions, not modules. It follows a map from the norm on while the map has no
other user, so whatever is between the mean over space and the product depends on nothing else of
the map. A node that only reads the shape of the map does not count as a user. The part from the
mean on is a tail too if a map is in memory anyway, and then the map may have other users.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

from senet.graph.effects import undisturbed
from senet.graph.value import same_shape, tensor_of
from senet.graph.words import ACTIVATIONS, INPLACE, PRODUCTS, SUMS
from senet.ops.passes import is_channels_last

_MEANS = (torch.mean, "mean")
_POOLS = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
_VIEWS = (torch.flatten, torch.reshape, "flatten", "reshape", "view", "contiguous", "float", "to")
_EXPANSIONS = ("expand", "expand_as")
_LIKE = ("expand_as", "view_as", "reshape_as")
_SHAPES = ("size", "dim", "numel")


@dataclass
class Tail:
    """A chain of calls that the passes can replace.

    Attributes:
        x: its input.
        norm: the call of batch norm; ``None`` if a map is squeezed without one.
        activation: the name of the activation between norm and squeeze, or ``None``.
        squeeze: the call whose result is the mean over space; ``None`` without a gate.
        gate: s, with spatial dimensions of 1.
        addition: the call that adds the shortcut, and the index of that among its arguments.
        relu: whether a ReLU ends it.
        end: the call whose result is that of the tail.
        chain: all calls that the tail replaces, in order.
    """

    x: fx.Node
    norm: fx.Node | None
    end: fx.Node
    activation: str | None = None
    squeeze: fx.Node | None = None
    gate: fx.Node | None = None
    addition: tuple[fx.Node, int] | None = None
    relu: bool = False
    chain: list[fx.Node] = field(default_factory=list)

    @property
    def shortcut(self) -> Any:
        """The map that is added, or ``None``."""
        return None if self.addition is None else self.addition[0].args[self.addition[1]]

    def take(self, *nodes: fx.Node) -> None:
        """Extend the tail to the last of ``nodes``."""
        self.chain += nodes
        self.end = nodes[-1]

    def __str__(self) -> str:
        """Return the names of its parts.

        Example:
            >>> node = fx.Graph().placeholder("x")
            >>> str(Tail(node, norm=node, end=node, squeeze=node, relu=True))
            'norm + SE + ReLU'
        """
        named = {"relu": "ReLU", "relu6": "ReLU6", "silu": "SiLU", "hardswish": "Hardswish"}
        parts = [
            (self.norm, "norm"),
            (self.activation, named.get(self.activation or "")),
            (self.squeeze, "SE"),
            (self.addition, "shortcut"),
            (self.relu, "ReLU"),
        ]
        return " + ".join(str(name) for there, name in parts if there)


def tails(graph: fx.Graph) -> list[Tail]:
    """Return the tails of ``graph``, in its order; no call is in two of them."""
    squeezes = {ways[0]: ways[1:] for node in graph.nodes if (ways := _way_to(node))}
    found = [t for node in graph.nodes if is_batch_norm(node) and (t := _from_norm(node, squeezes))]
    taken = {t.squeeze for t in found}
    found += [t for x, way in squeezes.items() if way[-1] not in taken and (t := _from_map(x, way))]
    # An addition of two tails belongs to the one with a gate, or to the first.
    used: set[fx.Node] = set()
    kept = []
    for t in sorted(found, key=lambda t: t.squeeze is None):
        if used.isdisjoint(t.chain) and _lies_as_written(t) and _runs_as_one(t):
            used.update(t.chain)
            kept.append(t)
    order = {node: place for place, node in enumerate(graph.nodes)}
    return sorted(kept, key=lambda t: order[t.end])


def is_batch_norm(node: fx.Node) -> bool:
    """Whether ``node`` calls batch norm on a map, with arrays of one number per channel."""
    if node.target is not F.batch_norm:
        return False
    given = norm_arguments(node)
    x = tensor_of(given["input"])
    if x is None or x.dim() < 3 or not x.is_floating_point():
        return False
    vectors = (given[k] for k in ("running_mean", "running_var", "weight", "bias"))
    values = [tensor_of(v) for v in vectors if v is not None]
    return all(v is not None and same_shape(v.shape, x.shape[1:2]) for v in values)


def norm_arguments(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of a call of batch norm, by name."""
    bound = _BATCH_NORM.bind(*node.args, **node.kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


_BATCH_NORM = inspect.signature(F.batch_norm)


def learns(norm: fx.Node) -> bool:
    """Whether this call of batch norm uses the statistics of the batch."""
    given = norm_arguments(norm)
    return bool(given["training"]) or given["running_mean"] is None


def asks_shape(node: fx.Node, x: fx.Node) -> bool:
    """Whether ``node`` reads only the shape of ``x``.

    Example:
        >>> graph = fx.Graph()
        >>> x, s = graph.placeholder("x"), graph.placeholder("s")
        >>> asks_shape(graph.call_method("expand_as", (s, x)), x)
        True
        >>> asks_shape(graph.call_method("expand_as", (x, s)), x)
        False
    """
    if node.op != "call_method":
        return False
    return node.target in _SHAPES or (node.target in _LIKE and node.args[0] is not x)


def _from_norm(norm: fx.Node, squeezes: dict[fx.Node, Any]) -> Tail | None:
    """Return the tail that starts at a batch norm, or ``None``."""
    t = Tail(norm_arguments(norm)["input"], norm, norm, chain=[norm])
    user = _only_user(norm)
    if user is not None and (name := _activation(user)) is not None:
        t.activation = name
        t.take(user)
    if (way := squeezes.get(t.end)) is not None and len(_users(t.end)) == 2:
        _take_gate(t, t.end, way)
    if t.activation is None:
        _take_addition(t)
        _take_relu(t)
    return None if t.end is norm else t


def _from_map(x: fx.Node, way: tuple[fx.Node, ...]) -> Tail | None:
    """Return the tail that starts at the squeeze of a map without batch norm, or ``None``."""
    t = Tail(x, None, x)
    _take_gate(t, x, way)
    if t.squeeze is None or t.end.target in INPLACE:  # other users may read the map
        return None
    if _has_gradient(t.end) and not _has_gradient(t.gate):  # PyTorch would not save the map
        return None
    _take_addition(t)
    _take_relu(t)
    return t


def _way_to(z: fx.Node) -> tuple[fx.Node, ...] | None:
    """Return the map whose mean over all space is ``z``, and the calls from it to ``z``."""
    if not (z.target in _MEANS or z.target in _POOLS) or not z.args:
        return None
    way = [z]
    node: Any = z.args[0]
    while isinstance(node, fx.Node) and node.target in _VIEWS and len(node.users) == 1:
        way.append(node)
        node = node.args[0]
    x, seen, mean = tensor_of(node), tensor_of(z.args[0]), tensor_of(z)
    if x is None or seen is None or mean is None or x.dim() < 3 or seen.dim() < 3:
        return None
    whole = same_shape(seen.shape[:2], x.shape[:2]) and same_shape(mean.shape[:2], x.shape[:2])
    if z.target in _POOLS:
        over_space = all(size == 1 for size in mean.shape[2:])
    else:
        over_space = _dims(z) == set(range(2, seen.dim()))
    floats = seen.is_floating_point() and x.is_floating_point()
    return (node, *reversed(way)) if whole and over_space and floats else None  # type: ignore[return-value]


def _dims(mean: fx.Node) -> set[int] | None:
    """Return the dimensions of a mean."""
    args: Any = mean.args
    dims: Any = args[1] if len(args) > 1 else mean.kwargs.get("dim")
    if isinstance(dims, int):
        dims = (dims,)
    if not isinstance(dims, (tuple, list)) or not all(isinstance(d, int) for d in dims):
        return None
    value = tensor_of(args[0])
    assert value is not None
    return {d % value.dim() for d in dims}


def _take_gate(t: Tail, u: fx.Node, way: tuple[fx.Node, ...]) -> None:
    """Extend the tail by the squeeze of ``u`` and the product of ``u`` with its gate."""
    for product in _users(u):
        gate = _factor(product, u)
        if gate is None:
            continue
        expanded = [gate] if gate.target in _EXPANSIONS and len(gate.users) == 1 else []
        s = gate.args[0] if expanded else gate
        if isinstance(s, fx.Node) and _is_gate(s, u) and _depends(s, way[-1]):
            t.squeeze, t.gate = way[-1], s
            t.take(*way, *expanded, product)
            return


def _factor(product: fx.Node, u: fx.Node) -> fx.Node | None:
    """Return the factor of ``u`` in ``product``."""
    if product.target not in PRODUCTS or len(product.args) != 2 or product.kwargs:
        return None
    a, b = product.args
    if a is b or (product.target in INPLACE and a is not u):
        return None
    factor = b if a is u else a
    return factor if isinstance(factor, fx.Node) and _alike(product, u) else None


def _is_gate(s: fx.Node, u: fx.Node) -> bool:
    """Whether ``s`` has at most one number per image and channel of ``u``."""
    gate, x = tensor_of(s), tensor_of(u)
    assert x is not None
    return (
        gate is not None
        and gate.is_floating_point()
        and gate.dim() == x.dim()
        and all(size == 1 for size in gate.shape[2:])
    )


def _depends(s: fx.Node, z: fx.Node) -> bool:
    """Whether ``s`` is computed from ``z``."""
    pending, seen = [s], set()
    while pending:
        node = pending.pop()
        if node is z:
            return True
        if node not in seen:
            seen.add(node)
            pending += node.all_input_nodes
    return False


def _take_addition(t: Tail) -> None:
    user = _only_user(t.end)
    if user is None or user.target not in SUMS or len(user.args) != 2 or user.kwargs:
        return
    a, b = user.args
    ours = 0 if a is t.end else 1
    shortcut = user.args[1 - ours]
    if a is b or (user.target in INPLACE and ours != 0):  # the shortcut may have other readers
        return
    if _alike(user, t.x) and _alike(shortcut, t.x):
        t.addition = user, 1 - ours
        t.take(user)


def _take_relu(t: Tail) -> None:
    user = _only_user(t.end)
    if user is not None and _activation(user) == "relu":
        t.relu = True
        t.take(user)


def _activation(node: fx.Node) -> str | None:
    """Return the name of the activation that ``node`` calls."""
    if node.target is F.hardtanh and tuple(node.args[1:3]) == (0.0, 6.0):
        return "relu6"
    return ACTIVATIONS.get(node.target)


def _users(node: fx.Node) -> list[fx.Node]:
    """Return the users of more than the shape of ``node``."""
    return [user for user in node.users if not asks_shape(user, node)]


def _only_user(node: fx.Node) -> fx.Node | None:
    users = _users(node)
    return users[0] if len(users) == 1 and users[0].op.startswith("call_") else None


def _alike(node: Any, other: fx.Node) -> bool:
    """Whether two maps have the same shape, type and device."""
    a, b = tensor_of(node), tensor_of(other)
    if a is None or b is None:
        return False
    return a.dtype == b.dtype and a.device == b.device and same_shape(a.shape, b.shape)


def _has_gradient(node: Any) -> bool:
    value = tensor_of(node)
    return value is not None and value.requires_grad


def _lies_as_written(t: Tail) -> bool:
    """Whether the result has the layout that the passes give it: that of the map, if dense.

    A shortcut of another layout that comes first in an addition determines the layout instead.
    Later nodes, such as views, may rely on the layout.
    """
    x, y = tensor_of(t.x), tensor_of(t.end)
    assert x is not None
    assert y is not None
    if is_channels_last(x) and not x.is_contiguous():
        return is_channels_last(y)
    return y.is_contiguous()


def _runs_as_one(t: Tail) -> bool:
    """Whether all inputs of a tail are still unchanged at its end."""
    inside = set(t.chain)
    first = t.chain[0].prev if t.norm is None else t.norm
    reads = [t.x] if t.norm is None else t.norm.all_input_nodes
    if not undisturbed(reads, first, t.end, inside):
        return False
    product = t.chain[-1 - (t.addition is not None) - t.relu]
    if t.gate is not None and not undisturbed([t.gate], product, t.end, inside):
        return False
    return t.addition is None or undisturbed([t.shortcut], t.addition[0], t.end, inside)
