"""Accuracies and their difference, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy import stats

from senet.analysis.statistics import p_value, percent
from senet.figures.style import COLOUR, panel, styled
from senet.paired import Estimate, Outcomes, interval, mcnemar, signed


@styled
def accuracies(names: Mapping[str, str], found: Mapping[str, Sequence[Estimate]]) -> Figure:
    """Draw dots and whiskers: the accuracy of every seed, and the mean of several.

    Args:
        names: name of each role.
        found: for each role, the accuracy of every seed with its interval.
    """
    heard = "; ".join(
        f"{names[role]}: "
        + ", ".join(
            f"{percent(e.value)} ({percent(e.low)} to {percent(e.high)})" for e in estimates
        )
        for role, estimates in found.items()
    )
    rows = sum(len(estimates) + (len(estimates) > 1) + 1.6 for estimates in found.values())
    figure, axes = panel(40 + 16 * rows, f"Test accuracy. {heard}")
    y = 0.3
    for role, estimates in found.items():
        axes.text(
            0, y, names[role], color=COLOUR[role], weight="bold", va="center",
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
        for estimate in estimates:
            y += 1
            _whisker(axes, y, estimate, COLOUR[role])
        if len(estimates) > 1:
            y += 1
            mean = float(np.mean([e.value for e in estimates]))
            axes.plot(mean, y, "D", color=COLOUR[role], markersize=8)
        y += 1.6
    axes.set_ylim(rows - 0.6, -0.5)
    axes.set_yticks([])
    axes.set_xlabel("test accuracy, %")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    return figure


@styled
def differences(rows: Sequence[tuple[str, Estimate, bool]]) -> Figure:
    """Draw dots and whiskers of accuracy with SE minus accuracy without, around a line at zero.

    Args:
        rows: name, difference, and whether to emphasize it.
    """
    heard = "; ".join(
        f"{name}: {signed(e.value)}, 95 % interval {interval(e)}" for name, e, _ in rows
    )
    figure, axes = panel(78 + 26 * len(rows), f"Difference in percentage points. {heard}")
    for y, (_, estimate, main) in enumerate(rows):
        _whisker(axes, y, estimate, COLOUR["ink" if main else "soft"], size=10 if main else 7)
    axes.axvline(0, color=COLOUR["ink"], linewidth=1.4)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    for text, (_, _, main) in zip(axes.get_yticklabels(), rows, strict=True):
        text.set(weight="bold", color=COLOUR["ink" if main else "soft"])
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("SE minus plain, percentage points")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _points(value)))
    low, high = axes.get_xlim()
    axes.set_xlim(low, high)
    for role, name, end, align, away in (
        ("plain", "plain better", low, "right", -8),
        ("se", "SE better", high, "left", 8),
    ):
        axes.axvspan(0, end, color=COLOUR[role], alpha=0.07, linewidth=0)
        if abs(end) > 0.3 * (high - low):  # there is room for the words
            axes.annotate(
                name, (0, 1), (away, 6), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha=align, color=COLOUR[role], weight="bold",
            )  # fmt: skip
    return figure


@styled
def outcomes(seeds: Sequence[int], found: Sequence[Outcomes]) -> Figure:
    """Draw who was right where the two disagree, and what equally good networks would do.

    This is McNemar's exact test as a picture: the bar is the images on which the networks disagree,
    and the faded middle is where the border would lie in 95 % of draws if each won half of them.
    """
    lines = [
        f"seed {seed}: only SE right {o.only_se}, only plain right {o.only_plain}, both right "
        f"{o.both}, neither {o.neither}, {p_value(mcnemar(o))}"
        for seed, o in zip(seeds, found, strict=True)
    ]
    figure, axes = panel(44 + 54 * len(found), "Paired outcomes. " + "; ".join(lines))
    for y, (seed, o) in enumerate(zip(seeds, found, strict=True)):
        words = {"y": y - 0.3, "weight": "bold"}
        axes.text(0, s=f"only SE {o.only_se:,}", color=COLOUR["se"], **words)
        axes.text(1, s=f"only plain {o.only_plain:,}", ha="right", color=COLOUR["plain"], **words)
        if len(found) > 1:
            axes.text(0.5, y - 0.3, f"seed {seed}", ha="center", color=COLOUR["soft"], size=11.5)
        _split(axes, y, o)
    axes.grid(visible=False)
    axes.set(xlim=(0, 1), ylim=(len(found) - 0.65, -0.65), yticks=[])
    axes.set_xlabel("% of the images on which just one was right")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
    return figure


def _split(axes: Axes, y: float, o: Outcomes) -> None:
    disagree = o.only_se + o.only_plain
    if not disagree:
        return
    border = o.only_se / disagree
    axes.barh(y, border, 0.4, color=COLOUR["se"])
    axes.barh(y, 1 - border, 0.4, border, color=COLOUR["plain"])
    low, high = stats.binom(disagree, 0.5).ppf([0.025, 0.975]) / disagree
    axes.barh(y, high - low, 0.5, low, color=COLOUR["card"], alpha=0.45)
    axes.vlines(border, y - 0.25, y + 0.25, color=COLOUR["ink"], linewidth=1.8)


def _whisker(axes: Axes, y: float, estimate: Estimate, colour: str, size: float = 9) -> None:
    ends = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
    axes.errorbar(
        [estimate.value], [y], xerr=ends, fmt="o", color=colour, linewidth=2, markersize=size,
        markeredgecolor=COLOUR["card"], capthick=2,
    )  # fmt: skip


def _points(share: float) -> str:
    points = round(100 * share, 6)
    return f"{points:+g}".replace("-", "−") if points else "0"
