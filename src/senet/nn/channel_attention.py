"""The base class of squeeze-and-excitation blocks and of their descendants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from senet.ops import reference


class ChannelAttention(nn.Module):
    """A block that rescales a feature map by what it sees in it: ``[B, C, *space]`` to the same.

    Networks recognise their blocks by this class: the blocks are initialised after everything else,
    so that a network and its plain twin start alike; their costs are counted separately; and their
    gates are recorded. Every block is made from a number of channels, ``Block(channels)``, so that
    one can replace another.

    A block is plain PyTorch: every layer in it is a module, and every module is called. So hooks,
    adapters, pruning and exchanged layers take effect.

    Attributes:
        gate: the module whose output s multiplies the feature map: one number for each image and
            channel, or for each position too.
    """

    if TYPE_CHECKING:  # TorchScript would try to read it
        gate: nn.Module

    def reset_gate(self) -> None:
        """Set the gate to its initial value; called once the weights are drawn."""

    def excitation(self, u: Tensor) -> Tensor:
        """Return the gates s of ``u`` in a form that :func:`~senet.ops.reference.scale` takes."""
        raise NotImplementedError

    def gates(self, u: Tensor) -> Tensor:
        """Return the gates s, ``[B, C]``, that the block computes from ``u``, ``[B, C, *space]``.

        Where every position has gates of its own, s has the shape of ``u``.
        """
        return self.excitation(u).flatten(1)

    def forward(self, u: Tensor) -> Tensor:
        return reference.scale(u, self.excitation(u))
