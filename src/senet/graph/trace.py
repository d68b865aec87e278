"""The forward of one module as a graph of calls of other modules, by symbolic tracing.

Only the module's own forward is traced: the modules that it calls are single nodes, except those
that are inlined. A network is thus read block by block. A module whose control flow depends on its
input has no graph, and is one node in the graph of its parent. What depends only on the number of
dimensions and channels (``view(*z.shape, 1, 1)``, a check of its input) can be followed with an
example of the input.
"""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from senet.graph.words import called

# How torch.fx names the tensors that a forward makes of nothing, as attributes of its module.
_CONSTANT = "_tensor_constant"


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

    def __init__(self, inline: Collection[str], like: Tensor | None) -> None:
        super().__init__()
        self.inline = inline
        self.like = like
        self.looks = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.inline

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        def one_input(root: nn.Module, x: Any) -> Any:  # other arguments keep their defaults
            return root.forward(x)

        return super().create_args_for_root(one_input, is_module, concrete_args)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return super().proxy(node) if self.like is None else _LikeExample(node, self)

    def iter(self, obj: fx.Proxy) -> Any:
        """Return the elements of what is unpacked, as many as it has for the example."""
        if self.like is None:
            return super().iter(obj)
        elements = [(obj, i) for i in range(len(obj))]
        return iter([self.create_proxy("call_function", operator.getitem, e, {}) for e in elements])

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Return the value of a condition that is the same for all inputs like the example."""
        if self.like is None or not _is_given(obj.node):
            return super().to_bool(obj)
        return bool(self.value(obj))

    def value(self, obj: fx.Proxy) -> Any:
        """Return what ``obj`` stands for, with the example as input."""
        self.looks = True
        part, copies = fx.Graph(), {}
        for node in obj.node.graph.nodes:
            copies[node] = part.node_copy(node, copies.__getitem__)
        part.output(copies[obj.node])
        try:
            return fx.Interpreter(fx.GraphModule(self.root, part)).run(self.like)
        finally:
            self.looks = False

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if self.looks:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self.looks else super().getattr(attr, attr_val, parameter_proxy_cache)


class _LikeExample(fx.Proxy):
    """A value with as many elements as with the example, if it is a shape or a list."""

    tracer: _Tracer

    def __getattr__(self, name: str) -> Any:
        if name == "shape":  # of this class, too
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        return super().__getattr__(name)

    def __len__(self) -> int:
        value = self.tracer.value(self)
        return super().__len__() if isinstance(value, Tensor) else len(value)


def _is_given(node: fx.Node) -> bool:
    """Whether ``node`` depends on numbers of dimensions and the channels of the input alone."""
    what, of = (node.target, *node.args[1:]), node.args[0] if node.args else None
    if what in (("dim",), ("ndimension",), (getattr, "ndim")):
        return True
    if what == ("size", 1):
        return _is_input(of)
    if what == (operator.getitem, 1) and isinstance(of, fx.Node):
        shape = (of.target, *of.args[1:]) in (("size",), (getattr, "shape"))
        return shape and _is_input(of.args[0])
    return bool(node.all_input_nodes) and all(map(_is_given, node.all_input_nodes))


def _is_input(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.op == "placeholder"


def trace(
    module: nn.Module,
    inline: Collection[str] = (),
    modes: tuple[bool, ...] = (False, True),
    like: Tensor | None = None,
) -> fx.Graph:
    """Return the graph of the forward of ``module``.

    Args:
        module: the module, which is not changed.
        inline: the paths of modules within it to inline.
        modes: evaluation, training, or both, whose graphs must then be equal: code that is
            rewritten runs in both modes.
        like: an example of the input. With it, shapes can be unpacked, and conditions on numbers of
            dimensions and channels evaluated. The graph is that of inputs which share these with
            it. The modules that are not inlined run, and must be in evaluation.

    Raises:
        UntraceableError: if its control flow depends on its input otherwise, or on its mode.

    Example:
        >>> graph = trace(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()))
        >>> [node.target for node in graph.nodes]
        ['x', '0', '1', 'output']
    """
    _require_one_input(module)
    inside = [module, *(module.get_submodule(path) for path in inline)]
    graphs, constants = [], dict[str, Any]()
    try:
        for mode in modes:
            with _restored(inside):
                for m in inside:
                    m.training = mode
                graphs.append(_Tracer(inline, like).trace(module))
                constants = {n: v for n, v in vars(module).items() if n.startswith(_CONSTANT)}
    except Exception as error:  # user code runs on proxies, and may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UntraceableError(f"its forward cannot be traced ({reason})") from error
    if str(graphs[0]) != str(graphs[-1]):
        raise UntraceableError("its forward is another in training than in evaluation")
    vars(module).update(constants)  # where the graph finds them
    return graphs[-1]


@contextmanager
def _restored(modules: list[nn.Module]) -> Iterator[None]:
    """Restore the attributes of ``modules``, and one level of what they contain.

    A forward may keep what it computes, such as a table of positions: in a trace, proxies. And it
    runs on proxies, but its updates of its own buffers are real.
    """
    attributes = [vars(m) for m in modules]
    kept = [v for held in attributes for v in held.values() if isinstance(v, dict | list)]
    contents = [(container, copy.copy(container)) for container in (*attributes, *kept)]
    buffers = [(b, b.clone()) for m in modules for b in m.buffers(recurse=False)]
    try:
        yield
    finally:
        for container, before in contents:
            _refill(container, before)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def _refill(container: Any, before: Any) -> None:
    """Give ``container`` its former contents, without emptying it: other threads may read it."""
    if isinstance(container, list):
        container[:] = before
        return
    for name in [name for name in container if name not in before]:
        del container[name]
    container.update(before)


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
