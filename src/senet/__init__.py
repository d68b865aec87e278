"""Squeeze-and-excitation networks for PyTorch (Hu et al., arXiv 1709.01507)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from senet.fuse.accelerate import accelerate
    from senet.models import create_model, list_models
    from senet.nn import SqueezeExcitation

__version__ = "0.1.0"
__all__ = ["SqueezeExcitation", "accelerate", "create_model", "list_models"]

_HOME = {
    "SqueezeExcitation": "senet.nn",
    "accelerate": "senet.fuse.accelerate",
    "create_model": "senet.models",
    "list_models": "senet.models",
}


def __getattr__(name: str) -> Any:
    """Import public names when they are first used: `senet --help` need not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'senet' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
