"""Whether a gradient is nobody else's, so that another one may be written over it.

A gradient that arrives in a backward may be on its way to others: where two maps are added, both
get the same one, and a hook may have kept it. A captured graph tells who can have kept it
(``senet.fuse.rewrite``); who holds it at this moment, the counts of PyTorch and Python tell.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor  # type: ignore[attr-defined]


def is_ours(gradient: Tensor) -> bool:
    """Whether nobody but the backward that got ``gradient``, and is running, can read it.

    Where PyTorch does not tell, it is somebody's.
    """
    uses: Any = getattr(gradient, "_use_count", None)
    count: Any = getattr(torch._C, "_storage_Use_Count", None)
    if uses is None or count is None or is_legacy_batchedtensor(gradient):
        return False
    # One for Python's view of the tensor; and of its memory, one for each of the two.
    return uses() == 1 and count(gradient.untyped_storage()._cdata) == 2
