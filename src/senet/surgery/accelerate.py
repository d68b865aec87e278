"""Run SE, and the tails of residual branches, of anybody's network on the streaming passes.

Block by block the forward is traced (:mod:`senet.surgery.graph`), and wherever it has

    batch norm → (SE) → (+ shortcut) → (ReLU)

these calls become one call of :func:`tail`. The SE is a module beside the norm, or within it
(:mod:`senet.surgery.with_se`). Everything else of a block stays as it is.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from senet.nn import SqueezeExcitation
from senet.nn.hooks import hooked, hooked_itself
from senet.nn.norm import fused_tail, module_by_module, pays
from senet.ops import backend, fused
from senet.surgery.graph import (
    UntraceableError,
    called,
    composites,
    is_addition,
    is_relu,
    only_user,
    source,
    trace,
)
from senet.surgery.recognise import Layers, se_layers
from senet.surgery.report import Report, require_bare
from senet.surgery.swap import Swapped, restore, swap, taken_apart
from senet.surgery.with_se import WithSE

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def accelerate(model: nn.Module, *, inplace: bool = True, undo: bool = False) -> Report:
    """Make the SE blocks and residual tails of ``model`` run on the streaming passes.

    The state dict, the parameters themselves, the hooks, the mode and the results stay what they
    were; only the classes of some modules change, to ones that derive from the old. Where the
    passes do not apply (a watched module, a map too small, export) a block runs as it was written.

    Args:
        model: any network; ours are fast already.
        inplace: change ``model`` itself; otherwise a copy, which is the report's ``model``.
        undo: give every module that was accelerated its own class back instead.

    Returns:
        What was found, what was changed, and what was left alone and why; printing it shows all.

    Raises:
        ValueError: if the network is wrapped for parallel training.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        >>> print(accelerate(model))
        accelerated Sequential: 1 changed, 0 left alone
          (the network)  norm + ReLU: on the passes
    """
    require_bare(model)
    if not inplace:
        model = copy.deepcopy(model)
    if undo:
        return _undo(model)
    report = Report(f"accelerated {type(model).__name__}", model)
    for path, block in list(model.named_modules()):
        if isinstance(block, SqueezeExcitation | Swapped):
            continue
        if (layers := se_layers(block)) is not None:
            swap(block, _fast_se(layers))
            report.add(path, "SE", done="on the passes")
    _Accelerator(report).visit("", model)
    return report


def _undo(model: nn.Module) -> Report:
    report = Report(f"gave {type(model).__name__} back", model)
    for path, module in model.named_modules():
        if issubclass(type(module), _FastSE | _FastBlock):
            restore(module)
            report.add(path, type(module).__name__, done="as it was written")
    return report


@contextmanager
def as_written(model: nn.Module) -> Iterator[None]:
    """Within it the network is not accelerated; afterwards it is again, if it was."""
    was = accelerate(model, undo=True).changed
    try:
        yield
    finally:
        if was:
            accelerate(model)


# ---------------------------------------------------------------------------------- SE by itself


class _FastSE(Swapped):
    """An SE block of another project, on the passes."""

    layers: Layers
    lasting = False

    def forward(self: Any, x: Tensor) -> Tensor:
        if x.numel() and backend.fuses(x) and not hooked(self):
            return fused.squeeze_excite(x, self.excitation())
        return super().forward(x)  # type: ignore[misc]

    def excitation(self: Any) -> fused.Excitation:
        return self.layers.excitation(self)


@cache
def _fast_se(layers: Layers) -> type[_FastSE]:
    return type("_FastSE", (_FastSE,), {"layers": layers})


# --------------------------------------------------------------------------------- whole blocks


@dataclass(frozen=True)
class Tail:
    """A chain of calls in a graph that :func:`tail` can stand for.

    Attributes:
        norm: the node of the batch norm, whose input is the input of the chain.
        se: path of the SE block, or ``None``.
        shortcut: what is added, or ``None``.
        relu: whether a ReLU ends it.
        end: the last node of the chain, whose result is that of the chain.
        passed: paths of the modules that are no longer called.
    """

    norm: fx.Node
    se: str | None
    shortcut: fx.Node | None
    relu: bool
    end: fx.Node
    passed: tuple[str, ...]

    def __str__(self) -> str:
        parts = ["norm", "SE" * bool(self.se), "shortcut" * bool(self.shortcut), "ReLU" * self.relu]
        return " + ".join(filter(None, parts))


def tail(
    x: Tensor, norm: nn.Module, se: nn.Module | None, shortcut: Tensor | None, relu: bool
) -> Tensor:
    """relu(se(norm(x)) + shortcut) of other people's modules, on the passes where they apply."""
    if pays(x, norm, se, shortcut):
        return fused_tail(x, norm, se, shortcut, relu)
    return module_by_module(x, norm, None if isinstance(norm, WithSE) else se, shortcut, relu)


class _Accelerator:
    """Goes through a network from the outside in, and rewrites each block that has tails."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.classes: dict[tuple[str, tuple[str, ...]], type[_FastBlock]] = {}

    def visit(self, path: str, block: nn.Module) -> None:
        if isinstance(block, SqueezeExcitation | _FastSE) or next(block.children(), None) is None:
            return
        if type(block).__module__.startswith("senet.models."):
            self.report.add(path, type(block).__name__, why="it is on the passes already")
            return
        inside: tuple[str, ...] = ()
        try:
            inside, graph = _open(block)
            self.rewrite(path, block, graph, inside)
        except UntraceableError as error:
            has_forward = type(block).forward is not nn.Module.forward
            if has_forward and any(_is_norm(child) for child in block.children()):
                self.report.add(path, type(block).__name__, why=str(error))
        self.visit_children(path, block, inside)

    def visit_children(self, path: str, block: nn.Module, inside: tuple[str, ...]) -> None:
        """The modules within ``block``, but those that were seen through: their children."""
        for name, child in block.named_children():
            at = f"{path}.{name}" if path else name
            if name in inside:
                deeper = tuple(p[len(name) + 1 :] for p in inside if p.startswith(f"{name}."))
                self.visit_children(at, child, deeper)
            else:
                self.visit(at, child)

    def rewrite(
        self, path: str, block: nn.Module, graph: fx.Graph, inside: tuple[str, ...]
    ) -> None:
        tails = _tails(graph, block)
        if not tails:
            return
        used = {node for node in graph.nodes if node.users}
        for t in tails:
            _replace(t, graph)
        # What nobody used before may be there for what it does.
        graph.eliminate_dead_code(is_impure_node=lambda node: node not in used)
        passed = (*inside, *(p for t in tails for p in t.passed))
        # Blocks of one kind share a class: torch.compile then compiles them once.
        key = str(graph), passed
        if key not in self.classes:
            forward = type(fx.GraphModule(block, graph)).forward
            names = {"rewritten": forward, "passed": passed}
            self.classes[key] = type("_FastBlock", (_FastBlock,), names)
        swap(block, self.classes[key])
        counts = Counter(map(str, tails))
        found = ", ".join(f"{n}× {chain}" if n > 1 else chain for chain, n in counts.items())
        self.report.add(path, found, done="on the passes")


def _replace(t: Tail, graph: fx.Graph) -> None:
    """Put one call in place of the calls of ``t``; these fall away, for nobody uses them."""
    with graph.inserting_before(t.end):
        norm = graph.get_attr(str(t.norm.target))
        se = None if t.se is None else graph.get_attr(t.se)
        made = graph.call_function(tail, (t.norm.args[0], norm, se, t.shortcut, t.relu))
    t.end.replace_all_uses_with(made)


def _open(block: nn.Module) -> tuple[tuple[str, ...], fx.Graph]:
    """The graph of a block, those modules seen through in which one of its tails begins."""
    inside: tuple[str, ...] = ()
    while True:
        graph = trace(block, inside)
        more = [
            str(node.target)
            for node, inner in composites(graph, block)
            if not _is_norm(inner) and _continues(node, block) and _ends_in_norm(inner)
        ]
        if not more:
            return inside, graph
        inside = (*inside, *more)


def _continues(node: fx.Node, block: nn.Module) -> bool:
    """Whether what follows ``node`` could belong to a tail that begins within it."""
    user = only_user(node, block)
    return user is not None and (
        is_addition(user) or is_relu(user, block) or _is_se(called(user, block))
    )


def _ends_in_norm(module: nn.Module) -> bool:
    if isinstance(module, SqueezeExcitation | Swapped):
        return False
    try:
        graph = trace(module)
    except UntraceableError:
        return False
    (output,) = (node for node in graph.nodes if node.op == "output")
    last = source(output.args[0], module)
    if not isinstance(last, fx.Node):
        return False
    inner = called(last, module)
    if inner is not None and next(inner.children(), None) is not None and not _is_norm(inner):
        return _ends_in_norm(inner)
    return _is_norm(inner) and _activation(inner) is None


def _is_norm(module: nn.Module | None) -> bool:
    """A batch norm, or one of timm's with a ReLU or nothing after it in the same module.

    Also one with SE in it, if nothing stands between the two.
    """
    if isinstance(module, WithSE):
        plain = taken_apart(type(module))[1]
        alone = plain in _NORMS or plain.__name__.startswith("BatchNormAct")
        return alone and _activation(module) is None and _is_se(module.se)
    if type(module) in _NORMS:
        return True
    if not isinstance(module, _BatchNorm) or not type(module).__name__.startswith("BatchNormAct"):
        return False
    drop, act = (getattr(module, part, None) for part in ("drop", "act"))
    return type(drop) is nn.Identity and type(act) in (nn.Identity, nn.ReLU)


def _activation(norm: nn.Module | None) -> nn.Module | None:
    """The activation that a batch norm of timm brings along, if there is one."""
    act = getattr(norm, "act", None)
    return None if act is None or type(act) is nn.Identity else act


def _is_se(module: nn.Module | None) -> bool:
    return isinstance(module, _FastSE) or (isinstance(module, SqueezeExcitation) and module.fuses())


def _tails(graph: fx.Graph, block: nn.Module) -> list[Tail]:
    """The chains that begin at a batch norm and are longer than that."""
    chains = [_follow(node, block) for node in graph.nodes if _is_norm(called(node, block))]
    # Where both sides of an addition end in a norm, one takes it: the one with SE, or the first.
    owner: dict[fx.Node, Tail] = {}
    for chain in sorted(filter(None, chains), key=lambda chain: chain.se is None):
        owner.setdefault(chain.end, chain)
    return [chain for chain in chains if chain is not None and owner[chain.end] is chain]


def _follow(norm: fx.Node, block: nn.Module) -> Tail | None:
    """The chain that begins at ``norm``, as long as it goes."""
    end, shortcut, relu = norm, None, False
    se = f"{norm.target}.se" if isinstance(called(norm, block), WithSE) else None
    passed = [str(norm.target), *_paths_within(norm, block)]
    if _activation(called(norm, block)) is not None:
        return Tail(norm, None, None, True, norm, tuple(passed))
    user = only_user(end, block)
    if se is None and user is not None and _is_se(called(user, block)):
        se, end = str(user.target), user
        passed += [str(user.target), *_paths_within(user, block)]
        user = only_user(end, block)
    if user is not None and is_addition(user):
        sides = [source(side, block) for side in user.args]
        if sides.count(end) == 1:
            shortcut, end = sides[sides.index(end) - 1], user
            user = only_user(end, block)
    if user is not None and is_relu(user, block):
        relu, end = True, user
        passed += [str(user.target)] if user.op == "call_module" else []
    return (
        None if end is norm and se is None else Tail(norm, se, shortcut, relu, end, tuple(passed))
    )


def _paths_within(node: fx.Node, block: nn.Module) -> list[str]:
    inner = called(node, block)
    assert inner is not None
    return [f"{node.target}.{path}" for path, _ in inner.named_modules() if path]


class _FastBlock(Swapped):
    """A block whose tails are calls of :func:`tail`."""

    passed: tuple[str, ...]
    rewritten: Callable[..., Any]
    lasting = False

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        watched = any(hooked_itself(self.get_submodule(path)) for path in self.passed)
        if watched or len(args) != 1 or kwargs:  # other inputs were not traced
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        return self.rewritten(*args)
