"""Bars for a cost."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from senet.figures.style import COLOUR, panel, styled


@styled
def cost(name: str, bars: Sequence[tuple[str, str, float, float, str]]) -> Figure:
    """Draw bars of one cost, with the share of SE shaded.

    Args:
        name: name of the cost.
        bars: for each bar, the role, the name of the network, the cost, SE's share of it, and the
            cost as text.
    """
    label = f"{name}. " + "; ".join(f"{network}: {text}" for _, network, _, _, text in bars)
    figure, axes = panel(44 * len(bars), label)
    for row, (role, network, value, share, text) in enumerate(bars):
        axes.barh(row, value, 0.34, color=COLOUR[role])
        if share:
            axes.barh(
                row, value * share, 0.34, value * (1 - share), color=COLOUR["ink"], alpha=0.55
            )
        above = axes.get_yaxis_transform()
        y = row - 0.3
        axes.text(0, y, network, color=COLOUR[role], weight="bold", transform=above)
        axes.text(1, y, text, ha="right", weight="bold", transform=above)
    axes.set_axis_off()
    axes.set_xlim(0, max(value for _, _, value, _, _ in bars) or 1)
    axes.set_ylim(len(bars) - 0.75, -0.75)
    return figure
