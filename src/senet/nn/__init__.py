"""Modules: what holds parameters."""

from collections.abc import Callable

from senet.nn.channel_attention import ChannelAttention
from senet.nn.conv import ConvNormAct
from senet.nn.eca import EfficientChannelAttention
from senet.nn.effective_se import EffectiveSqueezeExcitation
from senet.nn.gather_excite import GatherExcite
from senet.nn.scse import ConcurrentSqueezeExcitation
from senet.nn.squeeze_excitation import SqueezeExcitation

BLOCKS: dict[str, Callable[..., ChannelAttention]] = {
    "se": SqueezeExcitation,
    "eca": EfficientChannelAttention,
    "ese": EffectiveSqueezeExcitation,
    "scse": ConcurrentSqueezeExcitation,
    "ge": GatherExcite,
}
"""The blocks by their short names; each is made from a number of channels, and options."""

__all__ = [
    "BLOCKS",
    "ChannelAttention",
    "ConcurrentSqueezeExcitation",
    "ConvNormAct",
    "EffectiveSqueezeExcitation",
    "EfficientChannelAttention",
    "GatherExcite",
    "SqueezeExcitation",
]
