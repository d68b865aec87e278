"""What squeeze-and-excitation blocks and their descendants have in common."""

from __future__ import annotations

from torch import Tensor, nn


class Attention(nn.Module):
    """A block that rescales a map by what it sees in it: ``[B, C, *space]`` to the same.

    Networks know their blocks by this class: these are initialised after everything else, so that a
    network and its plain twin start alike; they are counted apart; and their gates are recorded.

    Attributes:
        gate: the module whose output the map is multiplied with: s, of one number an image and
            channel, or one a position too.
    """

    gate: nn.Module

    def reset_gate(self) -> None:
        """Give the gate its start; called once the weights are drawn."""

    def forward(self, u: Tensor) -> Tensor:
        raise NotImplementedError
