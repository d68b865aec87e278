"""Operations that change any network: SE is put in, exchanged, taken out or folded away.

Each verb has its place: ``insert``, ``replace`` (which takes out, too) and ``fold``. ``reading``
is what they see of a network, ``with_se`` a module with SE in it.
"""

import warnings
from typing import Any

from senet.graph.report import Finding, Report
from senet.surgery.fold.fold import fold_gates
from senet.surgery.fold.report import FoldedBlock, FoldReport
from senet.surgery.insert.insert import insert_se
from senet.surgery.replace import remove_se, replace, replace_se

__all__ = [
    "Finding",
    "FoldReport",
    "FoldedBlock",
    "Report",
    "fold_gates",
    "insert_se",
    "remove_se",
    "replace",
    "replace_se",
]


def __getattr__(name: str) -> Any:
    """Return what has moved, for programs that know its old place."""
    if name != "accelerate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "senet.surgery.accelerate has moved: use senet.accelerate", DeprecationWarning, stacklevel=2
    )
    from senet.fuse.accelerate import accelerate

    return accelerate
