"""Bars of a cost, and dots on a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from senet.analysis.svg import WIDTH, Axes, Picture, percent


def cost(name: str, bars: Sequence[tuple[str, str, float, float, str]]) -> Picture:
    """Bars of one cost, with the part that SE has of it set off.

    Args:
        name: of the cost.
        bars: role, name of the network, the cost, the share of it that is SE's, and how it is
            written.
    """
    label = f"{name}. " + "; ".join(f"{network}: {text}" for _, network, _, _, text in bars)
    most = max(value for _, _, value, _, _ in bars)
    picture = Picture(WIDTH, 44 * len(bars) + 4, label)
    for i, (role, network, value, share, text) in enumerate(bars):
        y, width = 44 * i, WIDTH * value / most if most else 0.0
        picture.text(0, y + 13, network, class_=f"row {role}")
        picture.text(WIDTH, y + 13, text, text_anchor="end", class_="row ink")
        picture.add("rect", x=0, y=y + 20, width=width, height=14, class_=f"{role} bar")
        if share:
            picture.add(
                "rect",
                x=width * (1 - share),
                y=y + 20,
                width=width * share,
                height=14,
                class_="share",
                tip=f"SE blocks: {percent(share, 2)} of it",
            )
    return picture


def dots(row: Mapping[str, float], low: float) -> Picture:
    """The share of each role as a dot on a line from ``low`` to 1."""
    axes = Axes(
        160,
        18,
        "; ".join(f"{role} {percent(v)}" for role, v in row.items()),
        (low, 1.0),
        (0, 1),
        left=8,
        right=8,
        top=0,
        bottom=0,
    )
    axes.add("line", x1=axes.left, x2=axes.right, y1=9, y2=9, class_="grid")
    for role, value in row.items():  # the ring shows a dot that lies on it
        radius, kind = (5.5, "ring") if role == "plain" else (4, "dot")
        axes.add("circle", cx=axes.at_x(value), cy=9, r=radius, class_=f"{kind} {role}")
    return axes
