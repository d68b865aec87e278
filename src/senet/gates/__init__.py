"""SE blocks of any network: how to find them and record their squeezes and gates.

``find`` recognises blocks, ``record`` runs images through a network and records z and s of every
block, and ``statistics`` describes their distribution by class.
"""

from senet.gates.find import blocks_of, gates_of, is_attention, se_layers
from senet.gates.record import record, recording
from senet.gates.statistics import BlockGates

__all__ = [
    "BlockGates",
    "blocks_of",
    "gates_of",
    "is_attention",
    "record",
    "recording",
    "se_layers",
]
