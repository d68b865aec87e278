"""Tests of whether a map in a backward has no other reader, so that it may be overwritten.

A gradient that arrives in a backward may have other readers: where two maps are added, both get
the same gradient, and a hook may have kept it. A map that was saved for the backward may be read
again, if the graph is kept, or by another operation that saved it. A captured graph shows who can
have kept a map (``senet.fuse.rewrite``); the reference counts of PyTorch show who holds it now.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C import _autograd
from torch._C._functorch import is_legacy_batchedtensor  # type: ignore[attr-defined]


def is_ours(gradient: Tensor) -> bool:
    """Whether only the running backward that received ``gradient`` can read it.

    False if this PyTorch has no such counts.
    """
    # One reference, of Python.
    return not is_legacy_batchedtensor(gradient) and _references(gradient) == (1, 1)


def is_last_read(saved: Tensor) -> bool:
    """Whether nothing can read ``saved``, of ``ctx.saved_tensors``, after the running backward.

    False if the graph is kept for another backward, or if this PyTorch does not tell.
    """
    keeps = getattr(_autograd, "_get_current_graph_task_keep_graph", lambda: True)
    # Two references, of Python and of the graph, which is about to release it.
    return not keeps() and _references(saved) == (2, 1)


def saves_as_is() -> bool:
    """Whether tensors are saved for a backward as they are: no hook packs, moves or keeps them.

    False if this PyTorch does not tell.
    """
    hooks = getattr(_autograd, "_top_saved_tensors_default_hooks", lambda _: ())
    return hooks(True) is None


def _references(x: Tensor) -> tuple[int, int] | None:
    """Return the numbers of references to a tensor and to its storage; all of Python are one."""
    uses: Any = getattr(x, "_use_count", None)
    count: Any = getattr(torch._C, "_storage_Use_Count", None)
    # Not by `untyped_storage()`, which is one more reference itself, as long as the map lives:
    # PyTorch would no longer add the gradients of two readers in place.
    storage: Any = getattr(torch._C, "_storage_address", None)
    return None if None in (uses, count, storage) else (uses(), count(storage(x)))
