"""What squeeze-and-excitation blocks and their descendants have in common."""

from __future__ import annotations

from torch import Tensor, nn

from senet.ops import backend, fused, reference


class Attention(nn.Module):
    """A block that rescales a map by what it sees in it: ``[B, C, *space]`` to the same.

    Networks know their blocks by this class: these are initialised after everything else, so that a
    network and its plain twin start alike; they are counted apart; and their gates are recorded.
    All are made from a number of channels, ``Block(channels)``, and so one can stand for another.

    Attributes:
        gate: the module whose output the map is multiplied with: s, of one number an image and
            channel, or one a position too.
    """

    gate: nn.Module

    def reset_gate(self) -> None:
        """Give the gate its start; called once the weights are drawn."""

    def gates(self, u: Tensor) -> Tensor:
        """S, ``[B, C]``: what the block makes of the map ``u``, ``[B, C, *space]``.

        Where every position has gates of its own, s has the shape of ``u``.
        """
        raise NotImplementedError

    def forward(self, u: Tensor) -> Tensor:
        if backend.fuses(u) and u.numel() and self.fuses():  # which walks through the modules
            return fused.squeeze_excite(u, self.excitation())
        return rescale(u, self.gates(u))

    def fuses(self) -> bool:
        """Whether the fused passes do what this block says: only where its squeeze is the mean."""
        return False

    def excitation(self) -> fused.Excitation:
        """The layers between squeeze and scale, as the fused passes take them."""
        raise NotImplementedError


def rescale(u: Tensor, s: Tensor) -> Tensor:
    """The map ``u`` times its gates, ``[B, C]`` or of the shape of ``u``; of the type of ``u``.

    Example:
        >>> import torch
        >>> rescale(torch.ones(1, 2, 2), torch.tensor([[0.5, 2.0]]))
        tensor([[[0.5000, 0.5000],
                 [2.0000, 2.0000]]])
    """
    s = s.to(u.dtype)  # autocast may have made them shorter, or longer
    return u * s if s.dim() == u.dim() else reference.scale(u, s)
