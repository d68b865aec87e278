"""SE blocks of any network: how to find them and record their squeezes and gates.

``find`` recognises blocks, ``record`` runs images through a network and records z and s of every
block, ``statistics`` describes their distribution by class, ``replacing`` puts other gates in their
place, ``rerun`` does so without running again what came before them, and ``merge`` makes one record
of those of several processes.
"""

from senet.gates.find import blocks_of, gates_of, is_attention, se_layers
from senet.gates.merge import gathered, merged
from senet.gates.record import record, recording
from senet.gates.replacing import replacing
from senet.gates.rerun import Rerun
from senet.gates.statistics import BlockGates

__all__ = [
    "BlockGates",
    "Rerun",
    "blocks_of",
    "gates_of",
    "gathered",
    "is_attention",
    "merged",
    "record",
    "recording",
    "replacing",
    "se_layers",
]
