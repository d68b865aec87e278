"""Modules: what holds parameters."""

from senet.nn.norm import norm_act
from senet.nn.squeeze_excitation import SqueezeExcitation

__all__ = ["SqueezeExcitation", "norm_act"]
