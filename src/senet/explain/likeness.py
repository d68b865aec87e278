"""Classes by their gates: which are alike, and which channels are a class's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from senet.explain.blocks import BlockFacts
from senet.gates import BlockGates

MOST = 3
"""Channels that are named for a class, in each direction."""

SHOWN = 4
"""Images that are shown for a channel, in each direction."""


@dataclass(frozen=True)
class Likeness:
    """How alike classes are by their gates in one block.

    Attributes:
        block: path of the block.
        classes: numbers of the classes that have images, in the order of the clustering: like ones
            are neighbours.
        r: the correlation of every two of them, ``[K, K]``, in this order.
    """

    block: str
    classes: tuple[int, ...]
    r: np.ndarray

    def pairs(self) -> list[tuple[int, int, float]]:
        """Return every two classes with their correlation, the most alike first."""
        rows, columns = np.triu_indices(len(self.classes), 1)
        order = np.argsort(-self.r[rows, columns], kind="stable")
        pairs = zip(rows[order], columns[order], strict=True)
        return [(self.classes[i], self.classes[j], float(self.r[i, j])) for i, j in pairs]


@dataclass(frozen=True)
class Specific:
    """The channels of one block that are one class's own.

    Attributes:
        block: path of the block.
        label: number of the class.
        opened: channels whose mean gate in the class lies above that of all images most, as
            (channel, mean in the class, mean, distance), the farthest first. A distance is in
            standard deviations within classes.
        closed: those that lie below it most, likewise.
    """

    block: str
    label: int
    opened: tuple[tuple[int, float, float, float], ...]
    closed: tuple[tuple[int, float, float, float], ...]


def clearest(facts: Sequence[BlockFacts]) -> str | None:
    """Return the block whose gates tell classes apart most clearly; ``None`` if none does."""
    informed = [one for one in facts if one.informed]
    return (
        max(informed, key=lambda one: (one.drawn or 0) - (one.level or 0)).name
        if informed
        else None
    )


def likeness(block: BlockGates) -> Likeness:
    """Return how alike classes are: the correlation of their mean gates about those of all images.

    Without what all classes share every two would be alike. Classes are ordered by hierarchical
    clustering: average linkage of the distances 1 − r, and the order of leaves in which neighbours
    are nearest (Bar-Joseph et al., Bioinformatics 17 (2001) S22).

    Example:
        >>> from senet.gates import record
        >>> from senet import SqueezeExcitation
        >>> block, x = SqueezeExcitation(8, 2), torch.randn(40, 8, 3, 3)
        >>> x[::2] += torch.arange(8)[:, None, None]  # classes 0 and 2 are alike, and 1 and 3
        >>> found = record(block, [(x, torch.arange(40) % 4)], 4, blocks={"se": block})["se"]
        >>> like = likeness(found)
        >>> sorted(map(sorted, (like.classes[:2], like.classes[2:])))
        [[0, 2], [1, 3]]
    """
    seen = torch.nonzero(block.images).flatten().tolist()
    own = (block.mean[seen] - block.overall).numpy()
    own = own - own.mean(1, keepdims=True)
    length = np.linalg.norm(own, axis=1)
    own = np.divide(own, length[:, None], out=np.zeros_like(own), where=length[:, None] > 0)
    r = np.clip(own @ own.T, -1, 1)
    np.fill_diagonal(r, 1)
    order = _clustered(1 - r)
    return Likeness(block.name, tuple(seen[i] for i in order), r[np.ix_(order, order)])


def _clustered(distances: np.ndarray) -> list[int]:
    """Return an order in which what is near is together."""
    if len(distances) < 3:
        return list(range(len(distances)))
    flat = squareform(distances, checks=False)
    tree = hierarchy.linkage(flat, "average", optimal_ordering=True)
    return hierarchy.leaves_list(tree).tolist()


def specific(block: BlockGates) -> list[Specific]:
    """Return the most specific channels of every class that has images.

    The distance of a class in a channel is its mean gate minus that over all images, in standard
    deviations within classes (Cohen's d). Where gates do not vary within classes, any difference is
    infinitely far.
    """
    seen = torch.nonzero(block.images).flatten().tolist()
    weights = block.images[seen, None] / block.images.sum()
    within = (weights * block.std[seen].square()).sum(0).sqrt()
    difference = block.mean[seen] - block.overall
    distance = torch.where(difference.abs() > 1e-6, difference / within, 0.0)
    order = distance.argsort(dim=1, stable=True)
    found = []
    for row, label in enumerate(seen):

        def named(channels: list[int], sign: int, row: int = row, label: int = label) -> tuple:
            return tuple(
                (c, float(block.mean[label, c]), float(block.overall[c]), float(distance[row, c]))
                for c in channels
                if sign * distance[row, c] > 0
            )

        up, down = order[row].flip(0)[:MOST].tolist(), order[row][:MOST].tolist()
        found.append(Specific(block.name, label, named(up, 1), named(down, -1)))
    return found


def extremes(block: BlockGates, channel: int, most: int = SHOWN) -> tuple[list[int], list[int]]:
    """Return which of the drawn images open a channel most, and which close it most.

    Returns:
        positions among the drawn images (``block.examples``), the most extreme first.

    Raises:
        ValueError: if no images were drawn.
    """
    if block.examples is None:
        raise ValueError(f"no example images of {block.name} were recorded: give `examples`")
    order = block.examples.s[:, channel].argsort(stable=True)
    most = min(most, len(order) // 2)
    return order.flip(0)[:most].tolist(), order[:most].tolist()
