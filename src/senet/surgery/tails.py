"""Where in a block's graph the passes apply: chains of calls that begin at a batch norm.

    batch norm → (SE) → (+ shortcut) → (ReLU)    or    batch norm → activation → (SE)

The activation, and SE, may be modules within the norm: timm's ``BatchNormAct2d``, and
:mod:`senet.surgery.with_se`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from senet.nn import Attention
from senet.nn.activation import ACTIVATIONS
from senet.surgery.fast_se import FastSE
from senet.surgery.graph import (
    UntraceableError,
    activation_of,
    called,
    is_addition,
    only_user,
    source,
    trace,
)
from senet.surgery.swap import Swapped, taken_apart
from senet.surgery.with_se import WithSE

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_SPELLED = {name: module.__name__ for module, name in ACTIVATIONS.items()}


@dataclass
class Tail:
    """A chain of calls in a graph that the passes can stand for.

    Attributes:
        norm: the node of the batch norm, whose input is the input of the chain.
        end: the last node of the chain, whose result is that of the chain.
        passed: paths of the modules that are no longer called.
        activation: the name of that right after the norm, or ``None``. Then all that may follow is
            SE.
        se: path of the SE block, or ``None``.
        shortcut: what is added, or ``None``.
        relu: whether a ReLU ends it.
    """

    norm: fx.Node
    end: fx.Node
    passed: list[str]
    activation: str | None = None
    se: str | None = None
    shortcut: fx.Node | None = None
    relu: bool = False

    def __str__(self) -> str:
        activation = _SPELLED.get(self.activation or "")
        parts = (self.se, "SE"), (self.shortcut, "shortcut"), (self.relu, "ReLU")
        return " + ".join(filter(None, ["norm", activation, *(name for has, name in parts if has)]))


def tails_of(graph: fx.Graph, block: nn.Module) -> list[Tail]:
    """The chains that begin at a batch norm and are longer than that."""
    chains = [_follow(node, block) for node in graph.nodes if is_norm(called(node, block))]
    # Where both sides of an addition end in a norm, one takes it: the one with SE, or the first.
    owner: dict[fx.Node, Tail] = {}
    for chain in sorted(filter(None, chains), key=lambda chain: chain.se is None):
        owner.setdefault(chain.end, chain)
    return [chain for chain in chains if chain is not None and owner[chain.end] is chain]


def _follow(norm: fx.Node, block: nn.Module) -> Tail | None:
    """The chain that begins at ``norm``, as long as it goes."""
    module = called(norm, block)
    t = Tail(norm, norm, [str(norm.target), *_paths_within(norm, block)])
    t.activation = own_activation(module)
    if isinstance(module, WithSE):
        t.se = f"{norm.target}.se"
    elif t.activation is None:
        _take_activation(t, block)
    if t.se is None:
        _take_se(t, block)
    if t.activation is None:
        _take_shortcut(t, block)
        _take_relu(t, block)
    return None if t.end is norm and t.se is None and t.activation is None else t


def _take_activation(t: Tail, block: nn.Module) -> None:
    """The activation after the norm. A ReLU is one, if nothing but SE follows the norm."""
    user = only_user(t.end, block)
    if user is not None and (name := activation_of(user, block)) is not None:
        t.activation, t.end = name, user
        t.passed += [str(user.target)] if user.op == "call_module" else []


def _take_se(t: Tail, block: nn.Module) -> None:
    user = only_user(t.end, block)
    if user is not None and _is_se(called(user, block)):
        t.se, t.end = str(user.target), user
        t.passed += [str(user.target), *_paths_within(user, block)]


def _take_shortcut(t: Tail, block: nn.Module) -> None:
    user = only_user(t.end, block)
    if user is not None and is_addition(user):
        sides = [source(side, block) for side in user.args]
        if sides.count(t.end) == 1:
            t.shortcut, t.end = sides[sides.index(t.end) - 1], user


def _take_relu(t: Tail, block: nn.Module) -> None:
    user = only_user(t.end, block)
    if user is not None and activation_of(user, block) == "relu":
        t.relu, t.end = True, user
        t.passed += [str(user.target)] if user.op == "call_module" else []


def _paths_within(node: fx.Node, block: nn.Module) -> list[str]:
    inner = called(node, block)
    assert inner is not None
    return [f"{node.target}.{path}" for path, _ in inner.named_modules() if path]


def begins_a_tail(node: fx.Node, inner: nn.Module, block: nn.Module) -> bool:
    """Whether a tail begins within the module ``inner`` that ``node`` calls, and ends outside."""
    user = only_user(node, block)
    if user is None:
        return False
    if _is_se(called(user, block)):
        return _last(inner) is not None
    goes_on = is_addition(user) or activation_of(user, block) is not None
    return goes_on and _last(inner) == "norm"


def _last(module: nn.Module) -> str | None:
    """Whether a module ends in a ``"norm"``, in an ``"activation"`` right after one, or neither."""
    if isinstance(module, Attention | Swapped):
        return None
    try:
        graph = trace(module)
    except UntraceableError:
        return None
    (output,) = (node for node in graph.nodes if node.op == "output")
    last = source(output.args[0], module)
    if not isinstance(last, fx.Node):
        return None
    if activation_of(last, module) is not None:
        return "activation" if _ends(source(last.args[0], module), module) == "norm" else None
    return _ends(last, module)


def _ends(node: Any, module: nn.Module) -> str | None:
    """The same of what ``node`` calls."""
    inner = called(node, module) if isinstance(node, fx.Node) else None
    if inner is None:
        return None
    if is_norm(inner):
        return "norm" if own_activation(inner) is None else "activation"
    return None if next(inner.children(), None) is None else _last(inner)


def is_norm(module: nn.Module | None) -> bool:
    """A batch norm, or one of timm's with an activation or nothing after it in the same module.

    Also one with SE in it.
    """
    kind: type = type(module)
    if isinstance(module, WithSE):
        if not _is_se(module.se):
            return False
        kind = taken_apart(kind)[1]
    if kind in _NORMS:
        return True
    if not isinstance(module, _BatchNorm) or not kind.__name__.startswith("BatchNormAct"):
        return False
    drop, act = (getattr(module, part, None) for part in ("drop", "act"))
    return type(drop) is nn.Identity and (type(act) is nn.Identity or type(act) in ACTIVATIONS)


def own_activation(norm: nn.Module | None) -> str | None:
    """The name of the activation that a batch norm of timm brings along, if there is one."""
    return ACTIVATIONS.get(type(getattr(norm, "act", None)))  # type: ignore[arg-type]


def _is_se(module: nn.Module | None) -> bool:
    return isinstance(module, FastSE) or (isinstance(module, Attention) and module.fuses())
