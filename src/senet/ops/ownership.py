"""A test of whether a gradient has no other reader, so that it may be overwritten.

A gradient that arrives in a backward may have other readers: where two maps are added, both get
the same gradient, and a hook may have kept it. A captured graph shows who can have kept it
(``senet.fuse.rewrite``); the reference counts of PyTorch and Python show who holds it now.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor  # type: ignore[attr-defined]


def is_ours(gradient: Tensor) -> bool:
    """Whether only the running backward that received ``gradient`` can read it.

    False if this PyTorch has no such counts.
    """
    uses: Any = getattr(gradient, "_use_count", None)
    count: Any = getattr(torch._C, "_storage_Use_Count", None)
    # Not by `untyped_storage()`, which is one more reference itself, as long as the map lives:
    # PyTorch would no longer add the gradients of two readers in place.
    storage: Any = getattr(torch._C, "_storage_address", None)
    if None in (uses, count, storage) or is_legacy_batchedtensor(gradient):
        return False
    # Each has one reference: the tensor that of Python, its storage that of the tensor.
    return uses() == 1 and count(storage(gradient)) == 1
