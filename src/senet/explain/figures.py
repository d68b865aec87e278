"""The figures of the blocks: what the class explains of them, and their gates by depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from senet.explain.blocks import BlockFacts
from senet.explain.messages import LANGUAGES, text
from senet.figures.style import COLOUR, panel, styled

ROW = 18
"""The height of the row of a block, in points."""


def alt(key: str, **values: object) -> str:
    """Return what a reader who cannot see a figure should know, in all languages."""
    return " / ".join(text(key, language, **values) for language in LANGUAGES)


@styled
def shares(facts: Sequence[BlockFacts]) -> Figure:
    """Draw the share that the class explains as dots, and the level of chance as bars."""
    figure, axes = panel(70 + ROW * len(facts), alt("alt_shares"))
    rows = np.arange(len(facts))
    level, drawn = ([getattr(one, name) or 0.0 for one in facts] for name in ("level", "drawn"))
    axes.barh(rows, level, color=COLOUR["right"], edgecolor=COLOUR["soft"], linewidth=0.5)
    axes.plot(drawn, rows, "o", color=COLOUR["se"], markersize=6, clip_on=False)
    axes.set_xlim(0, max(1e-3, *level, *drawn) * 1.05)
    axes.set_xlabel(text("axis_share"))
    _rows(axes, [one.name for one in facts])
    return figure


@styled
def distribution(names: Sequence[str], counts: np.ndarray, edges: np.ndarray) -> Figure:
    """Draw histograms ``[blocks, bins]`` one below the other, the first block at the top."""
    figure, axes = panel(70 + ROW * len(names), alt("alt_histogram"))
    highest = counts.max() / 0.9
    for row, own in enumerate(counts):
        axes.stairs(
            row + 0.45 - own / highest, edges, baseline=row + 0.45, fill=True, color=COLOUR["se"]
        )
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(text("axis_gate"))
    _rows(axes, names)
    return figure


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
