"""Squeeze-and-excitation networks for PyTorch (arXiv 1709.01507)."""

from senet.models import create_model, list_models
from senet.nn import SqueezeExcitation

__version__ = "0.1.0"
__all__ = ["SqueezeExcitation", "create_model", "list_models"]
