"""Modules: what holds parameters."""

from senet.nn.attention import Attention
from senet.nn.conv import ConvNormAct
from senet.nn.norm import conv_norm_act, norm_act
from senet.nn.squeeze_excitation import SqueezeExcitation

__all__ = ["Attention", "ConvNormAct", "SqueezeExcitation", "conv_norm_act", "norm_act"]
