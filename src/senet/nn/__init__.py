"""Modules: what holds parameters."""

from senet.nn.channel_attention import ChannelAttention
from senet.nn.conv import ConvNormAct
from senet.nn.eca import EfficientChannelAttention
from senet.nn.effective_se import EffectiveSqueezeExcitation
from senet.nn.gather_excite import GatherExcite
from senet.nn.scse import ConcurrentSqueezeExcitation
from senet.nn.squeeze_excitation import SqueezeExcitation

__all__ = [
    "ChannelAttention",
    "ConcurrentSqueezeExcitation",
    "ConvNormAct",
    "EffectiveSqueezeExcitation",
    "EfficientChannelAttention",
    "GatherExcite",
    "SqueezeExcitation",
]
