"""Two networks on the same images: before and after fine-tuning, or of two trainings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

import torch

from senet.gates import BlockGates


@dataclass(frozen=True)
class Beside:
    """One block of two networks.

    Attributes:
        name: its path in the first network; ``None`` where only the other has it.
        other: its path in the other network, likewise.
        r: correlation over channels of the mean gates; ``None`` where the blocks do not have the
            same number of channels, or the gates do not differ between channels.
        moved: mean over classes and channels of how far the mean gate of a class moved, likewise.
    """

    name: str | None
    other: str | None
    r: float | None = None
    moved: float | None = None


def beside(one: Mapping[str, BlockGates], other: Mapping[str, BlockGates]) -> list[Beside]:
    """Pair the blocks of two networks that were recorded on the same images.

    Blocks are paired by their paths if these are the same in both, otherwise in their order.
    Channel 7 of one network means what channel 7 of the other does only where one was trained from
    the other: of two trainings, only the tables can be compared.

    Example:
        >>> from senet import create_model
        >>> from senet.gates import record
        >>> model, x = create_model("se_resnet8_cifar"), torch.randn(4, 3, 32, 32)
        >>> blocks = record(model, [x])
        >>> beside(blocks, blocks)[0].moved
        0.0
    """
    if set(one) == set(other):
        return [_pair(one[path], other[path]) for path in one]
    return [
        _pair(a, b) if a and b else Beside(a.name if a else None, b.name if b else None)
        for a, b in zip_longest(one.values(), other.values())
    ]


def _pair(a: BlockGates, b: BlockGates) -> Beside:
    if a.mean.shape != b.mean.shape:
        return Beside(a.name, b.name)
    both = torch.stack([a.overall, b.overall])
    r = float(torch.corrcoef(both)[0, 1]) if bool((both.std(1) > 1e-6).all()) else None
    return Beside(a.name, b.name, r, float((a.mean - b.mean).abs().nanmean()))
