"""Modules: what holds parameters."""

from senet.nn.norm import conv_norm_act, norm_act
from senet.nn.squeeze_excitation import SqueezeExcitation

__all__ = ["SqueezeExcitation", "conv_norm_act", "norm_act"]
