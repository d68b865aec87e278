"""Confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from senet.analysis.statistics import percent
from senet.figures.style import COLOUR, WIDTH, panel, styled

LARGEST = 40
"""The most classes that a matrix can show; more are too fine to read."""

NUMBERED = 12
"""The most classes for which every cell has room for a number."""


@styled
def confusion(counts: np.ndarray, classes: Sequence[str], role: str, most: float) -> Figure:
    """Draw a confusion matrix: true classes down, predictions across, mistakes shaded.

    Args:
        counts: numbers of images ``[K, K]``, averaged over the seeds.
        classes: names of the classes.
        role: role of the network.
        most: the share of a class's images that gets the full shade; the same for both networks.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    right = float(np.trace(counts) / max(counts.sum(), 1))
    cells = {
        (i, j): ("right", 1.0, f"{counts[i, j]:.0f}")
        if i == j
        else (role, float(shares[i, j]) / most, f"{counts[i, j]:.0f}")
        for i, j in _nonzero(counts)
    }
    return _matrix(cells, classes, f"Confusion matrix, {role}: {percent(right)} on the diagonal")


@styled
def difference(plain: np.ndarray, se: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw counts with SE minus counts without, in the colour of the network they favour."""
    change = se - plain
    most = max(float(np.abs(change).max()), 1.0)
    cells = {
        (i, j): (
            "se" if (change[i, j] > 0) == (i == j) else "plain",
            float(abs(change[i, j])) / most,
            f"{change[i, j]:+.0f}".replace("-", "−"),
        )
        for i, j in _nonzero(change)
    }
    return _matrix(cells, classes, "Confusion with SE minus confusion without, in images")


def _nonzero(counts: np.ndarray) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for i, j in np.argwhere(counts)]


def _matrix(
    cells: Mapping[tuple[int, int], tuple[str, float, str]], classes: Sequence[str], label: str
) -> Figure:
    """Draw a square of cells, each with a colour, a shade from 0 to 1 and a number."""
    figure, axes = panel(WIDTH, label)
    k = len(classes)
    axes.add_collection(
        PatchCollection(
            [Rectangle((j - 0.5, i - 0.5), 1, 1) for i, j in cells],
            facecolors=[
                to_rgba(COLOUR[colour], 1 if colour == "right" else 0.06 + 0.94 * min(shade, 1))
                for colour, shade, _ in cells.values()
            ],
            edgecolors=COLOUR["card"],
            linewidths=1.5 if k <= NUMBERED else 0,
        )
    )
    for (i, j), (colour, shade, number) in cells.items() if k <= NUMBERED else ():
        if number not in ("0", "+0", "−0"):
            strong = colour != "right" and shade > 0.75
            ink = COLOUR["card" if strong else "ink"]
            axes.text(j, i, number, color=ink, size=min(11.5, 110 / k), ha="center", va="center")
    size = min(11.5, 270 / k)
    names = [name if len(name) <= 13 else f"{name[:12]}…" for name in classes]
    axes.set_xticks(range(k), names, rotation=90, size=size)
    axes.set_yticks(range(k), names, size=size)
    axes.xaxis.tick_top()
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    axes.set(xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5), aspect="equal")
    return figure
