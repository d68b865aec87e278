"""Gates by channel: Figures 6 and 7 of the paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from senet.figures.style import COLOUR, panel, styled
from senet.gates import BlockGates

COLOURS = 10
"""Classes that one figure can tell apart."""


@styled
def by_class(blocks: Sequence[BlockGates], shown: Sequence[int]) -> list[Figure]:
    """Draw Figure 6 of the paper: mean gate by channel, one line per class, one figure per block.

    Channels are sorted by their mean over all images, so that the mean is a rising line and a class
    that differs departs from it. Lines have the CSS class ``gate k0`` … for the page's style.

    Args:
        blocks: the blocks to show.
        shown: the classes that get a line, at most :data:`COLOURS`.
    """
    figures = []
    for block in blocks:
        figure, axes = _panel(block, "by class")
        order = block.overall.argsort()
        x = np.arange(1, len(order) + 1)
        for colour, k in enumerate(shown):
            y = block.mean[k][order]
            axes.plot(x, y, color=COLOUR[f"k{colour}"], linewidth=1.5, gid=f"gate k{colour}")
        axes.plot(x, block.overall[order], color=COLOUR["ink"], linewidth=2.6, gid="gate all")
        figures.append(figure)
    return _on_one_axis(figures)


@styled
def within_classes(blocks: Sequence[BlockGates], two: Sequence[tuple[int, int]]) -> list[Figure]:
    """Draw Figure 7 of the paper: the mean gate of two classes, ± one standard deviation.

    Args:
        blocks: the blocks to show.
        two: the two classes, each as its colour and its number.
    """
    figures = []
    for block in blocks:
        figure, axes = _panel(block, "within two classes")
        order = block.overall.argsort()
        x = np.arange(1, len(order) + 1)
        for colour, k in two:
            mean, std = block.mean[k][order], block.std[k][order]
            own = COLOUR[f"k{colour}"]
            axes.fill_between(x, mean - std, mean + std, color=own, alpha=0.2, linewidth=0)
            axes.plot(x, mean, color=own, linewidth=1.5)
        figures.append(figure)
    return _on_one_axis(figures)


def _panel(block: BlockGates, what: str) -> tuple[Figure, Axes]:
    channels = block.mean.shape[1]
    figure, axes = panel(
        220,
        f"Gates of {block.name} {what}: {channels} channels, "
        f"class dependence {block.class_dependence:.2f}",
    )
    axes.set_xlabel("channel, by its mean gate")
    axes.grid(visible=False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.margins(x=0)
    return figure, axes


def _on_one_axis(figures: list[Figure]) -> list[Figure]:
    """Give all figures the same range, so that they can be compared."""
    ends = [figure.axes[0].get_ylim() for figure in figures]
    for figure in figures:
        figure.axes[0].set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    return figures
