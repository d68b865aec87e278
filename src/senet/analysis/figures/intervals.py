"""Accuracies and their difference, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from senet.analysis.statistics import Estimate, Outcomes, interval, mcnemar, p_value, signed
from senet.analysis.svg import WIDTH, Axes, padded, percent, ticks


def accuracies(names: Mapping[str, str], found: Mapping[str, Sequence[Estimate]]) -> Axes:
    """Dot and whisker: the accuracy of every seed, and the mean where there are several.

    Args:
        names: what to call each role that is there.
        found: for each role the accuracy of every seed with its interval.
    """
    every = [e for role in found for e in found[role]]
    low, high = padded(min(e.low for e in every), max(e.high for e in every), 0.05)
    rows = sum(len(e) for e in found.values())
    heard = "; ".join(
        f"{names[role]}: "
        + ", ".join(
            f"{percent(e.value)} ({percent(e.low)} to {percent(e.high)})" for e in estimates
        )
        for role, estimates in found.items()
    )
    axes = Axes(
        WIDTH,
        52 + 15 * rows + 26 * len(found),
        f"Test accuracy. {heard}",
        (low, high),
        (0, 1),
        left=14,
        right=14,
        top=8,
    )
    axes.grid_x([(t, f"{100 * t:g}") for t in ticks(low, high)])
    axes.name_x("test accuracy, %")
    y = axes.top + 14
    for role, estimates in found.items():
        axes.text(axes.left, y, names[role], class_=f"row {role}")
        if len(estimates) > 1:
            mean = float(np.mean([e.value for e in estimates]))
            axes.add(
                "path",
                d=_diamond(axes.at_x(mean), y - 4, 6),
                class_=f"dot {role}",
                tip=f"{names[role]}, mean of {len(estimates)} seeds: {percent(mean, 2)}",
            )
        for estimate in estimates:
            y += 15
            _whisker(
                axes,
                y,
                estimate,
                role,
                f"{percent(estimate.value, 2)}, 95 % interval "
                f"{percent(estimate.low)} to {percent(estimate.high)}",
            )
        y += 26
    return axes


def differences(rows: Sequence[tuple[str, Estimate, bool]]) -> Axes:
    """Dot and whisker of accuracy with SE minus accuracy without, about a line at zero.

    Args:
        rows: name, difference, and whether it is the one to look at.
    """
    low, high = padded(
        min(0.0, *(e.low for _, e, _ in rows)), max(0.0, *(e.high for _, e, _ in rows)), 0.08
    )
    heard = "; ".join(
        f"{name}: {signed(e.value)}, 95 % interval {interval(e)}" for name, e, _ in rows
    )
    axes = Axes(
        WIDTH,
        90 + 26 * len(rows),
        f"Difference in percentage points. {heard}",
        (low, high),
        (0, 1),
        left=76,
        right=14,
        top=26,
    )
    zero = axes.at_x(0)
    for role, x, width in (("plain", axes.left, zero - axes.left), ("se", zero, axes.right - zero)):
        axes.add(
            "rect",
            x=x,
            y=axes.top,
            width=width,
            height=axes.bottom - axes.top,
            class_=f"side {role}",
        )
    axes.grid_x([(t, signed(t, 2).rstrip("0").rstrip(".") or "0") for t in ticks(low, high)])
    axes.add("line", x1=zero, x2=zero, y1=axes.top - 4, y2=axes.bottom, class_="zero")
    if zero - axes.left > 70:
        axes.text(zero - 8, axes.top - 10, "plain better", text_anchor="end", class_="row plain")
    if axes.right - zero > 70:
        axes.text(zero + 8, axes.top - 10, "SE better", class_="row se")
    axes.name_x("SE minus plain, percentage points")
    for i, (name, estimate, main) in enumerate(rows):
        y = axes.top + 20 + 26 * i
        kind = "ink" if main else "faint"
        axes.text(axes.left - 8, y + 4, name, text_anchor="end", class_=f"row {kind}")
        _whisker(
            axes,
            y,
            estimate,
            kind,
            f"{name}: {signed(estimate.value, 2)} points, 95 % interval {interval(estimate)}",
            size=6 if main else 4,
        )
    return axes


def outcomes(seeds: Sequence[int], found: Sequence[Outcomes]) -> Axes:
    """Who was right where the two disagree, beside what equally good networks would do.

    McNemar's exact test as a picture: of the images on which the networks disagree, the shaded
    middle is where the border would lie in 95 % of draws if each network won half of them.
    """
    lines = [
        f"seed {seed}: only SE right {o.only_se}, only plain right {o.only_plain}, both right "
        f"{o.both}, neither {o.neither}, {p_value(mcnemar(o))}"
        for seed, o in zip(seeds, found, strict=True)
    ]
    axes = Axes(
        WIDTH,
        40 + 56 * len(found),
        "Paired outcomes. " + "; ".join(lines),
        (0, 1),
        (0, 1),
        left=14,
        right=14,
        top=4,
    )
    axes.grid_x([(t, f"{100 * t:g}") for t in (0, 0.25, 0.5, 0.75, 1)], lines=False)
    axes.name_x("% of the images on which just one was right")
    for i, (seed, o) in enumerate(zip(seeds, found, strict=True)):
        y, disagree = axes.top + 20 + 56 * i, o.only_se + o.only_plain
        axes.text(axes.left, y - 6, f"only SE {o.only_se:,}", class_="row se")
        axes.text(
            axes.right, y - 6, f"only plain {o.only_plain:,}", text_anchor="end", class_="row plain"
        )
        if len(found) > 1:
            axes.text(axes.at_x(0.5), y - 6, f"seed {seed}", text_anchor="middle", class_="tick")
        if disagree:
            border = axes.at_x(o.only_se / disagree)
            axes.add("rect", x=axes.left, y=y, width=border - axes.left, height=22, class_="se")
            axes.add("rect", x=border, y=y, width=axes.right - border, height=22, class_="plain")
            fair = stats.binom(disagree, 0.5)
            low, high = (axes.at_x(float(fair.ppf(q)) / disagree) for q in (0.025, 0.975))
            axes.add(
                "rect",
                x=low,
                y=y - 3,
                width=high - low,
                height=28,
                class_="fair",
                tip="where the border would be in 95 % of draws of equally good networks",
            )
            axes.add("line", x1=border, x2=border, y1=y - 3, y2=y + 25, class_="border")
    return axes


def _whisker(
    axes: Axes, y: float, estimate: Estimate, kind: str, tip: str, size: float = 5
) -> None:
    low, high = axes.at_x(estimate.low), axes.at_x(estimate.high)
    axes.add("line", x1=low, x2=high, y1=y, y2=y, class_=f"whisker {kind}", tip=tip)
    for x in (low, high):
        axes.add("line", x1=x, x2=x, y1=y - 4, y2=y + 4, class_=f"whisker {kind}")
    axes.add("circle", cx=axes.at_x(estimate.value), cy=y, r=size, class_=f"dot {kind}", tip=tip)


def _diamond(x: float, y: float, r: float) -> str:
    return f"M{x - r:.1f} {y:.1f}L{x:.1f} {y - r:.1f}L{x + r:.1f} {y:.1f}L{x:.1f} {y + r:.1f}Z"
