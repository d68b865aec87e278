"""The forward of one module as a graph of calls of other modules, by symbolic tracing.

Only the module's own forward is traced: the modules that it calls are single nodes, except those
that are inlined. A network is thus read block by block. A module whose control flow depends on its
input has no graph, and is one node in the graph of its parent.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

import torch
from torch import fx, nn

from senet.graph.words import called


class UntraceableError(ValueError):
    """The error of a module whose forward has no graph."""


def _require_one_input(module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise UntraceableError("it is a ScriptModule, which is compiled: take what it was made of")
    parameters = list(inspect.signature(type(module).forward).parameters.values())[1:]
    needed = [p for p in parameters if p.default is p.empty]
    if len(needed) != 1 or needed[0].kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
        raise UntraceableError(f"its forward takes {len(needed)} inputs, not one")


class _Tracer(fx.Tracer):
    """Inlines some modules, and traces a forward as a function of its first input only."""

    def __init__(self, inline: Collection[str]) -> None:
        super().__init__()
        self.inline = inline

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.inline

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        def one_input(root: nn.Module, x: Any) -> Any:  # other arguments keep their defaults
            return root.forward(x)

        return super().create_args_for_root(one_input, is_module, concrete_args)


def trace(
    module: nn.Module, inline: Collection[str] = (), modes: tuple[bool, ...] = (False, True)
) -> fx.Graph:
    """Return the graph of the forward of ``module``.

    Args:
        module: the module, which is not changed.
        inline: the paths of modules within it to inline.
        modes: evaluation, training, or both, whose graphs must then be equal: code that is
            rewritten runs in both modes.

    Raises:
        UntraceableError: if its control flow depends on its input, or on its mode.

    Example:
        >>> graph = trace(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()))
        >>> [node.target for node in graph.nodes]
        ['x', '0', '1', 'output']
    """
    _require_one_input(module)
    inside = [module, *(module.get_submodule(path) for path in inline)]
    before = [m.training for m in inside]
    # A forward runs on proxies, but its updates of its own buffers are real.
    buffers = [(b, b.clone()) for m in inside for b in m.buffers(recurse=False)]
    graphs = []
    try:
        for mode in modes:
            for m in inside:
                m.training = mode
            graphs.append(_Tracer(inline).trace(module))
    except Exception as error:  # user code runs on proxies, and may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UntraceableError(f"its forward cannot be traced ({reason})") from error
    finally:
        for m, mode in zip(inside, before, strict=True):
            m.training = mode
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
    if str(graphs[0]) != str(graphs[-1]):
        raise UntraceableError("its forward is another in training than in evaluation")
    return graphs[-1]


def only_user(node: fx.Node, module: nn.Module) -> fx.Node | None:
    """Return the only node that reads the result of ``node``, skipping identity modules.

    ``None`` if there are several, or if the module returns the result.
    """
    while len(node.users) == 1:
        (user,) = node.users
        if user.op == "output":
            return None
        if type(called(user, module)) is not nn.Identity:
            return user
        node = user
    return None
