"""The storages that a node of a graph writes, which determine what may move past what.

A captured graph is not functional: it has in-place operations, and views of what they write. A tail
on the passes reads its inputs later than the operations that it replaces, so nothing in between may
write them. PyTorch defines what an operation writes: the node is run again on fake tensors, and the
schemas of the operators that it calls are inspected.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from senet.graph.value import value_of

ANYTHING = None
"""The writes of an unknown operation."""

_NUMBERS = (int, float, torch.SymInt, torch.SymFloat, torch.SymBool)


def storages(nodes: Iterable[Any]) -> set[int] | None:
    """Return the storages of the values of ``nodes``; ``None`` if one is unknown."""
    found: set[int] = set()
    for leaf in tree_leaves([value_of(n) for n in nodes if isinstance(n, fx.Node)]):
        if isinstance(leaf, Tensor):
            storage = _storage(leaf)
            if storage is None:
                return None
            found.add(storage)
    return found


def writes(node: fx.Node) -> set[int] | None:
    """Return the storages that ``node`` writes; :data:`ANYTHING` if they are unknown."""
    if node.op in ("placeholder", "get_attr", "output"):
        return set()
    if _are(_NUMBERS, value_of(node)):  # sizes, and numbers computed from them
        return set()
    if not _are(Tensor, value_of(node)):  # a mode is entered or left, ...
        return ANYTHING
    args, kwargs = fx.map_arg((node.args, node.kwargs), value_of)  # type: ignore[misc]
    mode = _Writes()
    try:
        with torch.no_grad(), mode:
            _call(node, args, kwargs)
    except Exception:  # a node that does not run on fake tensors may write anything
        return ANYTHING
    return mode.found


def undisturbed(reads: Iterable[Any], first: fx.Node, last: fx.Node, but: set[fx.Node]) -> bool:
    """Whether ``reads`` may be read at ``last`` instead of at ``first``.

    Args:
        reads: nodes whose values are read.
        first: where they are read in the graph.
        last: where they are to be read.
        but: nodes between them that will not run.
    """
    read = storages(reads)
    if read is None:
        return False
    node = first
    while node is not last:
        if node is not first and node not in but:
            written = writes(node)
            if written is None or written & read:
                return False
        node = node.next
    return True


class _Writes(TorchDispatchMode):
    """Records the storages of all arguments that operators declare to write."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {
            spec.name: value for spec, value in zip(func._schema.arguments, args, strict=False)
        } | kwargs
        for spec in func._schema.arguments:
            if spec.alias_info is not None and spec.alias_info.is_write:
                self._note(given.get(spec.name))
        if func in _BATCH_NORMS and given["training"]:
            self._note((given["running_mean"], given["running_var"]))
        return func(*args, **kwargs)

    def _note(self, written: Any) -> None:
        for leaf in tree_leaves(written):
            if isinstance(leaf, Tensor):
                storage = _storage(leaf)
                if storage is None:
                    raise ValueError("a tensor without a storage is written")
                self.found.add(storage)


_BATCH_NORMS = [torch.ops.aten.native_batch_norm.default, torch.ops.aten.cudnn_batch_norm.default]
"""Operators whose schemas omit that they write the running statistics."""


def _call(node: fx.Node, args: Any, kwargs: Any) -> None:
    if node.op == "call_method":
        getattr(args[0], str(node.target))(*args[1:], **kwargs)
    elif node.op == "call_function" and not isinstance(node.target, torch._ops.HigherOrderOperator):
        node.target(*args, **kwargs)  # type: ignore[operator]
    else:
        raise NotImplementedError(node.op)


def _are(kind: Any, value: Any) -> bool:
    leaves = tree_leaves(value)
    return bool(leaves) and all(isinstance(leaf, kind) for leaf in leaves)


def _storage(tensor: Tensor) -> int | None:
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return None
