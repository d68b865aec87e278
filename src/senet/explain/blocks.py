"""Which blocks matter: what the class explains of their gates, beside chance; and saturation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from senet.gates import BlockGates

SHUFFLES = 200
LEVEL = 0.99
"""Of so many shuffles of the labels, this share stays below the level that is called chance."""

ROUNDING = 1e-6
"""Gates that move less than this, relative to their size, do not move: float32 rounds so much."""


@dataclass(frozen=True)
class BlockFacts:
    """What one block does, in numbers.

    Attributes:
        name: path of the block.
        channels: C.
        mean: mean gate over images and channels.
        variation: movement of the gates from image to image, relative to their size.
        open: share of gates above 0.95.
        closed: share of gates below 0.05.
        share: share of the gates' variance that the class explains, over all images; ``None``
            where that has no meaning: fewer than two classes, or no more images than classes.
        drawn: the same over the images that were drawn as examples.
        level: what shuffled labels reach on the same images, in 99 of 100 shuffles.
        why: why the block's output is not its map times these gates; empty where it is.
    """

    name: str
    channels: int
    mean: float
    variation: float
    open: float
    closed: float
    share: float | None
    drawn: float | None
    level: float | None
    why: str

    @property
    def informed(self) -> bool | None:
        """Whether the gates tell classes apart better than chance; ``None`` where unknown."""
        if self.drawn is None or self.level is None:
            return None
        return self.drawn > self.level


def block_facts(block: BlockGates) -> BlockFacts:
    """Return what a block does. For the level of chance it needs recorded examples.

    Example:
        >>> from senet import create_model
        >>> from senet.gates import record
        >>> batch = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 0, 1, 0, 1])
        >>> found = record(create_model("se_resnet8_cifar"), [batch], 2, examples=6)
        >>> block_facts(found["layer1.0.se"]).channels
        16
    """
    drawn = level = None
    if block.examples is not None and _comparable(block.examples.labels):
        drawn, chance = shuffled_shares(block.examples.s, block.examples.labels)
        level = float(np.quantile(chance, LEVEL))
    still = block.variation <= ROUNDING
    counted = bool((block.images > 0).sum() > 1 and block.images.sum() > (block.images > 0).sum())
    return BlockFacts(
        block.name,
        block.mean.shape[1],
        float(block.overall.mean()),
        0.0 if still else block.variation,
        block.open,
        block.closed,
        (0.0 if still else block.class_dependence) if counted else None,
        drawn,
        level,
        block.why,
    )


def _comparable(labels: Tensor) -> bool:
    """Return whether there are two classes, and more images than classes."""
    return 1 < len(labels.unique()) < len(labels)


def shuffled_shares(
    s: Tensor, labels: Tensor, shuffles: int = SHUFFLES
) -> tuple[float, np.ndarray]:
    """Return the share of the variance of gates that the classes explain, and what chance reaches.

    Chance is the same share after the labels were shuffled among the images.

    Args:
        s: gates of single images, ``[E, C]``.
        labels: their classes, ``[E]``.
        shuffles: the number of shuffles.

    Returns:
        the share, 0 … 1, and those of the shuffles, ``[shuffles]``.

    Example:
        >>> labels = torch.arange(40) % 2
        >>> share, chance = shuffled_shares(labels[:, None] * 0.5, labels)
        >>> share, float(chance.max()) < 0.5
        (1.0, True)
    """
    centred = s.double() - s.double().mean(0)
    # With inner products of images a shuffle costs E² operations, however many channels there are.
    products = centred @ centred.T
    total = float(products.trace())
    if total <= ROUNDING**2 * float(s.double().square().sum()):
        return 0.0, np.zeros(shuffles)
    _, own, images = labels.unique(return_inverse=True, return_counts=True)
    generator = torch.Generator().manual_seed(0)

    def between(own: Tensor) -> float:
        sums = products.new_zeros(len(images), len(own)).index_add(0, own, products)
        return float((sums[own, torch.arange(len(own))] / images[own]).sum())

    chance = [between(own[torch.randperm(len(own), generator=generator)]) for _ in range(shuffles)]
    return min(between(own) / total, 1.0), np.array(chance) / total


def histograms(blocks: Sequence[BlockGates], bins: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Return how the gates of the recorded examples are distributed, block by block.

    Returns:
        shares ``[blocks, bins]``, each row of sum 1, and the edges of the bins ``[bins + 1]``,
        which cover 0 … 1 and every gate.
    """
    gates = [block.examples.s.flatten().numpy() for block in blocks if block.examples is not None]
    low = min(0.0, *(float(s.min()) for s in gates))
    high = max(1.0, *(float(s.max()) for s in gates))
    counts = [np.histogram(s, bins, (low, high))[0] / s.size for s in gates]
    return np.array(counts), np.linspace(low, high, bins + 1)
