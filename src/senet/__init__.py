"""Squeeze-and-excitation networks for PyTorch (Hu et al., arXiv 1709.01507)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from senet.fuse.accelerate import accelerate
    from senet.fuse.freeze import for_inference
    from senet.memory import keep_memory
    from senet.models import create_model, list_models
    from senet.nn import SqueezeExcitation
    from senet.surgery import fold_gates, insert_se

__version__ = "0.1.0"
__all__ = [
    "SqueezeExcitation",
    "accelerate",
    "create_model",
    "fold_gates",
    "for_inference",
    "insert_se",
    "keep_memory",
    "list_models",
]

_HOME = {
    "SqueezeExcitation": "senet.nn",
    "accelerate": "senet.fuse.accelerate",
    "create_model": "senet.models",
    "fold_gates": "senet.surgery",
    "for_inference": "senet.fuse.freeze",
    "insert_se": "senet.surgery",
    "keep_memory": "senet.memory",
    "list_models": "senet.models",
}


# Packages that `import senet` alone makes available, such as senet.gates.record.
_PACKAGES = ("explain", "gates", "models", "nn", "surgery")


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `senet --help` need not wait for torch."""
    if name in _PACKAGES:
        return importlib.import_module(f"senet.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'senet' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
