"""The figures of the page, but for the gates by class, which the report has too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from senet.explain.ablation import FORMS, Worth
from senet.explain.blocks import BlockFacts
from senet.explain.likeness import Likeness
from senet.explain.messages import LANGUAGES, text
from senet.explain.road import Road
from senet.figures.style import COLOUR, WIDTH, panel, styled
from senet.paired import Estimate

ROW = 18
"""The height of the row of a block, in points."""

FORM_COLOURS = {"one": "k3", "mean": "plain", "other": "k5"}
"""The colours of what gates are replaced by."""

NAMED = 30
"""Classes whose names fit on a map."""


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


@styled
def worth(rows: Sequence[Worth], what: str) -> Figure:
    """Draw the changes that replaced gates make, block by block, with their intervals.

    Args:
        rows: the replacements, of :func:`senet.explain.ablation.worth`.
        what: ``"accuracy"`` or ``"loss"``.
    """
    blocks = list(dict.fromkeys(one.block for one in rows))
    row = {block: i for i, block in enumerate(blocks)}
    figure, axes = panel(70 + 1.5 * ROW * len(blocks), alt(f"alt_{what}"))
    axes.axvline(0, color=COLOUR["soft"], linewidth=1)
    for form, offset in zip(FORMS, (-0.26, 0, 0.26), strict=True):
        own = [one for one in rows if one.form == form]
        changes: list[Estimate] = [getattr(one, what) for one in own]
        value, low, high = np.array([(c.value, c.low, c.high) for c in changes]).T
        errors = np.maximum((value - low, high - value), 0)
        at = [row[one.block] + offset for one in own]
        style = {"fmt": "o", "markersize": 5, "capsize": 0, "elinewidth": 2}
        axes.errorbar(value, at, xerr=errors, color=COLOUR[FORM_COLOURS[form]], **style)
    if what == "accuracy":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}"))
    axes.set_xlabel(text(f"axis_{what}"))
    _rows(axes, [block or text("axis_all") for block in blocks])
    return figure


@styled
def similarity(like: Likeness, classes: Sequence[str]) -> Figure:
    """Draw how alike classes are as a map: SE's colour where they are alike, blue where opposed."""
    named = len(like.classes) <= NAMED
    height = 140 + 13 * len(like.classes) if named else WIDTH
    values = {"block": like.block, "classes": len(like.classes)}
    figure, axes = panel(height, alt("alt_similarity", **values))
    colours = np.where(like.r[..., None] > 0, to_rgb(COLOUR["se"]), to_rgb(COLOUR["plain"]))
    picture = np.concatenate([colours, np.abs(like.r)[..., None]], -1)
    # A large map is drawn at the size of the page: no reader sees more, and it would be megabytes.
    axes.imshow(picture, interpolation="none" if len(like.classes) < WIDTH else "antialiased")
    axes.grid(visible=False)
    if named:
        names = [classes[k] for k in like.classes]
        axes.set_yticks(range(len(names)), names, fontsize=9.5)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=9.5)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


@styled
def road(found: Road, file: str) -> Figure:
    """Draw the probability of the answer as pixels are removed, in three orders."""
    figure, axes = panel(230, alt("alt_road", file=file))
    share = 100 * found.shares
    low, high = found.random.min(0), found.random.max(0)
    axes.fill_between(share, low, high, color=COLOUR["soft"], alpha=0.3, linewidth=0)
    axes.plot(share, found.random.mean(0), color=COLOUR["soft"])
    axes.plot(share, found.least, color=COLOUR["plain"])
    axes.plot(share, found.most, color=COLOUR["se"])
    axes.set_xlim(share[0], share[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(text("axis_removed"))
    return figure


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
