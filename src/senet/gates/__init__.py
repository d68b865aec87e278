"""SE blocks of any network, ours and anybody's: found, and their squeezes and gates recorded.

``find`` says what a block is, ``record`` runs images through a network and records z and s of every
block, ``statistics`` says how they are distributed, and by class.
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
