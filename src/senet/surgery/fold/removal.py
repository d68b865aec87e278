"""Take a block out of a network, with its gates in the weights beside it, and put it back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from senet.ops import reference
from senet.surgery.fold.absorb import Edit
from senet.surgery.fold.trial import flat
from senet.surgery.with_se import WithSE, put_se, take_se

_ROUNDINGS = 4
"""The allowed change of the output, in multiples of that by a rounding of the edited weights."""


class Removal:
    """A block that can be taken out and put back.

    Args:
        model: the network.
        path: the path of the block in it.
        edits: the edits of weights that make up for the block.

    Attributes:
        inserted: whether it was put there by :func:`~senet.surgery.insert_se`, and leaves no trace.
        stand_in: what is put in the place of the block: ``None`` if the module around it checks
            whether there is a block, else a module that does nothing.
    """

    def __init__(self, model: nn.Module, path: str, edits: Sequence[Edit]) -> None:
        owner, _, self.name = path.rpartition(".")
        self.owner = model.get_submodule(owner)
        self.block = self.owner.get_submodule(self.name)
        self.edits = edits
        self.inserted = isinstance(self.owner, WithSE) and self.name == "se"
        self.last = isinstance(self.owner, WithSE) and self.owner.last
        self.stand_in: nn.Module | None = None
        self._saved: list[tuple[nn.Parameter, Tensor]] | None = None

    def apply(self) -> None:
        """Edit the weights and take the block out."""
        assert self._saved is None
        self._saved = [(e.parameter, e.parameter.detach().clone()) for e in self.edits]
        for edit in self.edits:
            edit.apply()
        if self.inserted:
            take_se(self.owner)
        else:
            setattr(self.owner, self.name, self.stand_in)

    @torch.no_grad()
    def revert(self) -> None:
        """Put the weights back, bit for bit, and the block in its place; allowed at any moment."""
        for parameter, before in self._saved or ():
            parameter.copy_(before)
        if self.inserted and not isinstance(self.owner, WithSE):
            put_se(self.owner, self.block, self.last)
        setattr(self.owner, self.name, self.block.train(self.owner.training))
        self._saved = None


@contextmanager
def removed(removals: Sequence[Removal]) -> Iterator[None]:
    """Take the blocks out of the network within the context."""
    with ExitStack() as stack:
        for removal in removals:
            stack.callback(removal.revert)  # first: an interrupt may come in between
            removal.apply()
        yield


class _Fixed(nn.Module):
    """The block with gates that never move: what a removal must be equal to."""

    def __init__(self, s: Tensor) -> None:
        super().__init__()
        self.s = s

    def forward(self, u: Tensor) -> Tensor:
        return reference.scale(u, self.s.to(u).expand(len(u), -1))


def settle(model: nn.Module, removal: Removal, s: Tensor, x: Tensor) -> bool:
    """Find the stand-in with which the network does what it does with the gates held at ``s``.

    The two are compared on the input ``x``: they are equal if they differ by no more than a few
    times the change of the output when the edited weights move by a rounding.

    Returns:
        Whether there is one; the network is left as it was.
    """
    setattr(removal.owner, removal.name, _Fixed(s))
    try:
        wanted = _run(model, x)
    finally:
        removal.revert()
    for stand_in in (None, nn.Identity()):
        removal.stand_in = stand_in
        with removed([removal]):
            try:
                got = _run(model, x)
            except (TypeError, AttributeError):  # the module around it calls it unchecked
                continue
            allowed = _ROUNDINGS * _rounding(model, removal, got, x)
        if (got - wanted).abs().max() <= allowed:  # False for NaN too
            return True
    return False


def _rounding(model: nn.Module, removal: Removal, output: Tensor, x: Tensor) -> float:
    """Return how far roundings move the output: those of the edited weights, and its own."""
    generator = torch.Generator().manual_seed(0)
    eps = torch.finfo(x.dtype).eps
    moved = [eps * float(output.abs().max())]
    weights = [(e.parameter, e.parameter.detach().clone()) for e in removal.edits]
    for _ in range(2):
        for parameter, value in weights:
            signs = torch.randint(2, value.shape, generator=generator).to(value) * 2 - 1
            parameter.copy_(value * (1 + eps * signs))
        moved.append(float((_run(model, x) - output).abs().max()))
    return max(moved)  # the weights are put back with the block


def _run(model: nn.Module, x: Tensor) -> Tensor:
    return flat(model(x))
