"""Accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from senet.analysis.statistics import percent
from senet.figures.style import COLOUR, panel, styled
from senet.paired import Estimate

_HEIGHT = 280
# As shares of the axes: the height of a line of text, the distance below which marks count as near,
# and the distance at which they are then drawn.
_LINE, _NEAR, _BESIDE = 16 / 230, 0.03, 0.045


@dataclass(frozen=True)
class Point:
    """A network: its label, whether it is plain, its cost, and its accuracy.

    ``accuracy`` is drawn with its ends; ``seeds`` are the accuracies of single trainings.
    """

    label: str
    plain: bool
    cost: float
    accuracy: Estimate
    seeds: Sequence[float] = ()


@styled
def tradeoff(cost: str, unit: float, found: Sequence[Point]) -> Figure:
    """Draw a mark per network: cost across, accuracy up, with a whisker; seeds as small dots.

    The names are at the right edge, in the order of accuracy, each with a line to its mark, so that
    marks may be close together. Marks of nearly the same cost are drawn side by side, so that no
    whisker covers another.

    Args:
        cost: label of the axis.
        unit: the unit of the axis, in units of the cost.
        found: one point per network.
    """
    heard = "; ".join(
        f"{p.label}: {p.cost / unit:.4g}, {percent(p.accuracy.value)} "
        f"({percent(p.accuracy.low)} to {percent(p.accuracy.high)})"
        for p in found
    )
    figure, axes = panel(_HEIGHT, f"Test accuracy against {cost}. {heard}")
    places = _beside([p.cost for p in found])
    for p, x in zip(found, places, strict=True):
        colour = COLOUR["plain" if p.plain else "se"]
        if len(p.seeds) > 1:
            axes.plot([x] * len(p.seeds), p.seeds, ".", color=colour, alpha=0.5, zorder=1)
        ends = [[p.accuracy.value - p.accuracy.low], [p.accuracy.high - p.accuracy.value]]
        axes.errorbar(
            [x], [p.accuracy.value], yerr=ends, fmt="s" if p.plain else "o", color=colour,
            linewidth=1.4, markersize=9, markeredgecolor=COLOUR["card"],
        )  # fmt: skip
    axes.margins(x=0.12, y=0.08)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    heights = _apart([(p.accuracy.value - low) / (high - low) for p in found])
    for p, x, height in zip(found, places, heights, strict=True):
        axes.annotate(
            p.label, (x, p.accuracy.value), (1.05, height),
            textcoords="axes fraction", va="center", weight="bold", zorder=0,
            color=COLOUR["plain" if p.plain else "se"],
            arrowprops={"arrowstyle": "-", "color": COLOUR["rule"], "shrinkA": 3, "shrinkB": 4},
        )  # fmt: skip
    axes.set_xlabel(cost)
    axes.set_ylabel("test accuracy, %")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    return figure


def _beside(costs: Sequence[float]) -> list[float]:
    """Return the places of the marks: at their cost, or side by side if several nearly coincide.

    Example:
        >>> _beside([0.0, 100.0, 100.0])
        [0.0, 97.75, 102.25]
    """
    span = max(costs) - min(costs) or abs(max(costs)) or 1.0
    order = sorted(range(len(costs)), key=lambda i: costs[i])
    groups: list[list[int]] = []
    for i in order:
        if groups and costs[i] - costs[groups[-1][-1]] < _NEAR * span:
            groups[-1].append(i)
        else:
            groups.append([i])
    places = list(map(float, costs))
    for group in groups:
        for k, i in enumerate(sorted(group)):
            places[i] += (k - (len(group) - 1) / 2) * _BESIDE * span
    return places


def _apart(heights: Sequence[float]) -> list[float]:
    """Return the heights, moved as little as needed to fit a line of text at each.

    Example:
        >>> [round(h, 2) for h in _apart([0.5, 0.9, 0.5])]
        [0.47, 0.9, 0.53]
    """
    order = np.argsort(heights, kind="stable")
    groups: list[tuple[float, int]] = []  # groups of touching lines: middle and number
    for height in np.asarray(heights, float)[order]:
        groups.append((height, 1))
        while len(groups) > 1 and _top(groups[-2]) > _bottom(groups[-1]):
            (a, n), (b, m) = groups[-2:]
            groups[-2:] = [((a * n + b * m) / (n + m), n + m)]
    placed = [_bottom(g) + _LINE * (i + 0.5) for g in groups for i in range(g[1])]
    moved = np.empty(len(placed))
    moved[order] = placed
    return moved.tolist()


def _bottom(group: tuple[float, int]) -> float:
    return group[0] - _LINE * group[1] / 2


def _top(group: tuple[float, int]) -> float:
    return group[0] + _LINE * group[1] / 2
