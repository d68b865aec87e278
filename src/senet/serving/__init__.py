"""A trained network at work: images in, classes and probabilities out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from senet.runs.find import find_model
    from senet.serving.find import Found, find_images
    from senet.serving.predict import Prediction, Predictor

__all__ = ["Found", "Prediction", "Predictor", "find_images", "find_model"]

_HOME = {
    "Found": "senet.serving.find",
    "Prediction": "senet.serving.predict",
    "Predictor": "senet.serving.predict",
    "find_images": "senet.serving.find",
    "find_model": "senet.runs.find",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: finding a file need not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'senet.serving' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
