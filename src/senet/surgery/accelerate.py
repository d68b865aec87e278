"""Run SE, and what follows batch norms, of anybody's network on the streaming passes.

Block by block the forward is traced (:mod:`senet.surgery.graph`), and every chain of calls that the
passes can stand for (:mod:`senet.surgery.tails`) becomes one call of :func:`tail` or
:func:`activated`. Everything else of a block stays as it is.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from senet.nn import Attention
from senet.nn.hooks import hooked_itself
from senet.nn.norm import activated_tail, fused_tail, module_by_module, pays
from senet.ops.activation import ACTIVATIONS
from senet.surgery.fast_se import FastSE, fast_se
from senet.surgery.graph import UntraceableError, composites, trace
from senet.surgery.recognise import se_layers
from senet.surgery.report import Report, require_bare
from senet.surgery.swap import Swapped, restore, swap
from senet.surgery.tails import Tail, begins_a_tail, is_norm, own_activation, tails_of
from senet.surgery.with_se import WithSE

# By these names go modules that people expect to be changed, and are told why not.
_GATING = re.compile(r"^SE(Module|Layer|Block)?$|Squeeze|Excit|Eca|Cbam|Channel(Attn|Attention)")


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
        if isinstance(block, Attention | Swapped):
            continue
        if (layers := se_layers(block)) is not None:
            swap(block, fast_se(layers))
            report.add(path, "SE", done="on the passes")
        elif _GATING.search(type(block).__name__):
            report.add(path, type(block).__name__, why="its forward is not that of SE")
    _Accelerator(report).visit("", model)
    return report


def _undo(model: nn.Module) -> Report:
    report = Report(f"gave {type(model).__name__} back", model)
    for path, module in model.named_modules():
        if issubclass(type(module), FastSE | _FastBlock):
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


def tail(
    x: Tensor, norm: nn.Module, se: nn.Module | None, shortcut: Tensor | None, relu: bool
) -> Tensor:
    """relu(se(norm(x)) + shortcut) of other people's modules, on the passes where they apply."""
    if pays(x, norm, se, shortcut):
        return fused_tail(x, norm, se, shortcut, relu)
    return module_by_module(x, norm, None if isinstance(norm, WithSE) else se, shortcut, relu)


def activated(x: Tensor, norm: nn.Module, activation: str, se: nn.Module | None) -> Tensor:
    """se(activation(norm(x))) of other people's modules, on the passes where they apply."""
    if pays(x, norm, se, None):
        return activated_tail(x, norm, activation, se)
    y = norm(x)
    if own_activation(norm) is None:
        y = ACTIVATIONS[activation].function(y)
    return y if se is None or isinstance(norm, WithSE) else se(y)


class _Accelerator:
    """Goes through a network from the outside in, and rewrites each block that has tails."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.classes: dict[tuple[str, tuple[str, ...]], type[_FastBlock]] = {}

    def visit(self, path: str, block: nn.Module) -> None:
        if isinstance(block, Attention | FastSE) or next(block.children(), None) is None:
            return
        if type(block).__module__.startswith("senet.models."):
            self.report.add(path, type(block).__name__, why="it is on the passes already")
            return
        if isinstance(block, torch.jit.ScriptModule):
            self.report.add(
                path, type(block).__name__, why="it is compiled: take what it was made of"
            )
            return
        inside: tuple[str, ...] = ()
        try:
            inside, graph = _open(block)
            self.rewrite(path, block, graph, inside)
        except UntraceableError as error:
            has_forward = type(block).forward is not nn.Module.forward
            if has_forward and any(is_norm(child) for child in block.children()):
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
        tails = tails_of(graph, block)
        if not tails:
            return
        used = {node for node in graph.nodes if node.users}
        for t in tails:
            made = _replace(t, graph)
            for other in tails:  # the shortcut of one tail may be the end of another
                if other.shortcut is t.end:
                    other.shortcut = made
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


def _replace(t: Tail, graph: fx.Graph) -> fx.Node:
    """Put one call in place of the calls of ``t``; these fall away, for nobody uses them."""
    with graph.inserting_before(t.end):
        norm = graph.get_attr(str(t.norm.target))
        se = None if t.se is None else graph.get_attr(t.se)
        if t.activation is None:
            made = graph.call_function(tail, (t.norm.args[0], norm, se, t.shortcut, t.relu))
        else:
            made = graph.call_function(activated, (t.norm.args[0], norm, t.activation, se))
    t.end.replace_all_uses_with(made)
    return made


def _open(block: nn.Module) -> tuple[tuple[str, ...], fx.Graph]:
    """The graph of a block, those modules seen through in which one of its tails begins."""
    inside: tuple[str, ...] = ()
    while True:
        graph = trace(block, inside)
        more = [
            str(node.target)
            for node, inner in composites(graph, block)
            if not is_norm(inner) and begins_a_tail(node, inner, block)
        ]
        if not more:
            return inside, graph
        inside = (*inside, *more)


class _FastBlock(Swapped):
    """A block whose tails are calls of :func:`tail` and :func:`activated`."""

    passed: tuple[str, ...]
    rewritten: Callable[..., Any]
    lasting = False

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        watched = any(hooked_itself(self.get_submodule(path)) for path in self.passed)
        if watched or len(args) != 1 or kwargs:  # other inputs were not traced
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        return self.rewritten(*args)
