"""The pictures of the report. Each function takes numbers and returns one :class:`Picture`.

Two colours mean the same on the whole page: ``plain`` and ``se``. Classes are told apart by ``k0``
to ``k9``. What a picture shows is also in its label, for readers who hear the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from senet.analysis.gates import BlockGates
from senet.analysis.statistics import Estimate, Outcomes, interval, mcnemar, p_value, signed
from senet.analysis.svg import Axes, Picture, log_ticks, ticks, whole_ticks

ROLES = ("plain", "se")
WIDTH = 360
"""Of a picture, in its own units: about what a phone shows, so that text keeps its size there."""
CLASS_COLOURS = 10
"""Classes that one picture can tell apart by colour."""
LARGEST_MATRIX = 100
"""Classes beyond which a confusion matrix is too fine to see."""


@dataclass(frozen=True)
class Curve:
    """A figure by epoch, of one seed of the plain network or of the one with SE."""

    role: str
    epochs: np.ndarray
    train: np.ndarray
    val: np.ndarray


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage: ``89.4 %``."""
    return f"{100 * share:.{digits}f}\u202f%"


def accuracies(names: Mapping[str, str], found: Mapping[str, Sequence[Estimate]]) -> Picture:
    """Dot and whisker: the accuracy of every seed, and the mean where there are several.

    Args:
        names: what to call each role that is there.
        found: for each role the accuracy of every seed with its interval.
    """
    every = [e for role in found for e in found[role]]
    low, high = _padded(min(e.low for e in every), max(e.high for e in every), 0.05)
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


def differences(rows: Sequence[tuple[str, Estimate, bool]]) -> Picture:
    """Dot and whisker of accuracy with SE minus accuracy without, about a line at zero.

    Args:
        rows: name, difference, and whether it is the one to look at.
    """
    low, high = _padded(
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


def outcomes(seeds: Sequence[int], found: Sequence[Outcomes]) -> Picture:
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


def curves(name: str, found: Sequence[Curve], shares: bool) -> Picture:
    """A figure by epoch: validation solid, training dotted; seeds thin, their mean bold.

    Args:
        name: of the figure.
        found: one a run.
        shares: whether it is a share, to be written in per cent; else the axis is logarithmic,
            which keeps the late epochs apart after a first one of large loss.
    """
    every = np.concatenate([np.concatenate([c.train, c.val]) for c in found])
    every = every[np.isfinite(every)]
    if shares:
        low, high = _padded(float(every.min()), float(every.max()), 0.04)
        marks = [(t, f"{100 * t:g}") for t in ticks(low, high)]
    else:
        low, high = max(0.9 * float(every.min()), 1e-6), 1.1 * max(float(every.max()), 1e-6)
        marks = [(t, f"{t:g}") for t in log_ticks(low, high)]
    first = min(float(c.epochs.min()) for c in found)
    last = max(float(c.epochs.max()) for c in found)
    label = f"{name} by epoch. " + "; ".join(
        f"{c.role}: {_last(c.train)} in training, {_last(c.val)} in validation at the end"
        for c in found
    )
    axes = Axes(WIDTH, 250, label, (first, max(last, first + 1)), (low, high), log=not shares)
    axes.grid_y(marks)
    axes.grid_x([(t, f"{t:g}") for t in whole_ticks(int(first), int(last))], lines=False)
    axes.name_x("epoch")
    for role in ROLES:
        own = [c for c in found if c.role == role]
        for part in ("train", "val"):
            seeds = [(c.epochs, getattr(c, part)) for c in own]
            seeds = [(x, y) for x, y in seeds if np.isfinite(y).any()]
            many = len(seeds) > 1
            for x, y in seeds if part == "val" or not many else ():
                _curve(axes, x, np.maximum(y, low), f"curve {role} {part}{' thin' * many}")
            if many:
                length = min(len(x) for x, _ in seeds)
                mean = np.mean([y[:length] for _, y in seeds], axis=0)
                _curve(axes, seeds[0][0][:length], np.maximum(mean, low), f"curve {role} {part}")
    return axes


def _curve(axes: Axes, x: np.ndarray, y: np.ndarray, kind: str) -> None:
    axes.line(list(x), list(y), class_=kind)
    if len(x) == 1:  # a line of one point is not seen
        axes.add(
            "circle",
            cx=axes.at_x(float(x[0])),
            cy=axes.at_y(float(y[0])),
            r=3,
            class_=kind.replace("curve", "dot"),
        )


def _last(values: np.ndarray) -> str:
    return f"{values[-1]:.3g}" if len(values) and np.isfinite(values[-1]) else "nothing"


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


def confusion(counts: np.ndarray, classes: Sequence[str], role: str, most: float) -> Picture:
    """A confusion matrix: true classes down, predictions across; mistakes shaded.

    Args:
        counts: images ``[K, K]``, a mean over the seeds where there are several.
        classes: their names.
        role: whose predictions.
        most: the share of a class's images that is shaded fully; the same for both networks.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    right = np.trace(counts) / max(counts.sum(), 1)
    picture = _Matrix(classes, f"Confusion matrix, {role}: {percent(float(right))} on the diagonal")
    for i, j in zip(*np.nonzero(counts), strict=True):
        tip = f"{classes[i]}, said to be {classes[j]}: {counts[i, j]:g} ({percent(shares[i, j])})"
        if i == j:
            picture.cell(i, j, "right", 1, f"{counts[i, j]:.0f}", tip)
        else:
            picture.cell(i, j, role, float(shares[i, j]) / most, f"{counts[i, j]:.0f}", tip)
    return picture


def confusion_difference(plain: np.ndarray, se: np.ndarray, classes: Sequence[str]) -> Picture:
    """Counts with SE minus counts without, coloured by which network the change speaks for."""
    change = se - plain
    most = max(float(np.abs(change).max()), 1.0)
    picture = _Matrix(classes, "Confusion with SE minus confusion without, in images")
    for i, j in zip(*np.nonzero(change), strict=True):
        gain = change[i, j] if i == j else -change[i, j]
        text = f"{change[i, j]:+.0f}".replace("-", "−")
        tip = f"{classes[i]}, said to be {classes[j]}: {text} with SE"
        picture.cell(i, j, "se" if gain > 0 else "plain", float(abs(gain)) / most, text, tip)
    return picture


class _Matrix(Picture):
    """A square of cells with the names of the classes on two sides."""

    def __init__(self, classes: Sequence[str], label: str) -> None:
        k = len(classes)
        self.named, self.numbered = k <= 40, k <= 12
        self.margin = min(84.0, 10 + 6.1 * max(map(len, classes))) if self.named else 4.0
        super().__init__(WIDTH, WIDTH, label)
        self.size = (WIDTH - self.margin - 2) / k
        for i, name in enumerate(classes) if self.named else ():
            at, font = self.margin + (i + 0.5) * self.size, min(11.5, self.size)
            short = name if len(name) <= 13 else f"{name[:12]}…"
            self.text(
                self.margin - 6,
                at + 0.35 * font,
                short,
                text_anchor="end",
                class_="tick",
                font_size=font,
            )
            self.text(
                0,
                0,
                short,
                class_="tick",
                font_size=font,
                transform=f"translate({at + 0.35 * font:.1f} {self.margin - 6:.1f}) rotate(-90)",
            )
        self.add(
            "rect",
            x=self.margin,
            y=self.margin,
            width=k * self.size,
            height=k * self.size,
            class_="frame",
        )

    def cell(self, i: int, j: int, kind: str, shade: float, number: str, tip: str) -> None:
        x, y = self.margin + j * self.size, self.margin + i * self.size
        side = self.size - (1.5 if self.numbered else 0)
        self.add(
            "rect",
            x=x,
            y=y,
            width=side,
            height=side,
            class_=f"cell {kind}",
            tip=tip,
            fill_opacity=None if kind == "right" else round(0.06 + 0.94 * min(shade, 1), 3),
        )
        if self.numbered and number not in ("0", "+0", "−0"):
            strong = " strong" if kind != "right" and shade > 0.55 else ""
            self.text(
                x + side / 2,
                y + side / 2 + 4,
                number,
                text_anchor="middle",
                class_=f"number{strong}",
                font_size=min(11.5, self.size * 0.42),
            )


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


def gate_panels(blocks: Sequence[BlockGates], shown: Sequence[int], classes: Sequence[str]):
    """Figure 6 of the paper: mean gate by channel, a line a class, one picture a block.

    Channels stand in the order of their mean over all images, so that the mean is a rising line
    and a class that differs leaves it.

    Args:
        blocks: which to show.
        shown: which classes have a line, at most :data:`CLASS_COLOURS`.
        classes: names of all classes.
    """
    low, high = _gate_range([b.mean.numpy() for b in blocks])
    pictures = []
    for block in blocks:
        order = block.overall.argsort()
        x = list(range(1, len(order) + 1))
        axes = _gate_axes(block, low, high)
        for colour, k in enumerate(shown):
            axes.line(x, block.mean[k][order].tolist(), class_=f"gate k{colour}", tip=classes[k])
        axes.line(x, block.overall[order].tolist(), class_="gate all", tip="all images")
        pictures.append(axes)
    return pictures


def gate_bands(
    blocks: Sequence[BlockGates], two: Sequence[tuple[int, int]], classes: Sequence[str]
):
    """Figure 7 of the paper: of two classes the mean gate, within ± one standard deviation.

    Args:
        blocks: which to show.
        two: the two classes, each as its colour and its number.
        classes: names of all classes.
    """
    low, high = _gate_range(
        [
            b.mean[k].numpy() + sign * b.std[k].numpy()
            for b in blocks
            for _, k in two
            for sign in (-1, 1)
        ]
    )
    pictures = []
    for block in blocks:
        order = block.overall.argsort()
        x = list(range(1, len(order) + 1))
        axes = _gate_axes(block, low, high)
        for colour, k in two:
            mean, std = block.mean[k][order], block.std[k][order]
            axes.band(x, (mean - std).tolist(), (mean + std).tolist(), class_=f"band k{colour}")
        for colour, k in two:
            axes.line(x, block.mean[k][order].tolist(), class_=f"gate k{colour}", tip=classes[k])
        pictures.append(axes)
    return pictures


def _gate_axes(block: BlockGates, low: float, high: float) -> Axes:
    channels = block.mean.shape[1]
    label = (
        f"Gates of {block.name}: {channels} channels, class dependence {block.class_dependence:.2f}"
    )
    axes = Axes(WIDTH, 220, label, (1, channels), (low, high), left=32)
    axes.grid_y([(t, f"{t:g}") for t in ticks(low, high)])
    axes.grid_x([(t, f"{t:g}") for t in whole_ticks(1, channels)], lines=False)
    axes.name_x("channel, by its mean gate")
    return axes


def _gate_range(found: Sequence[np.ndarray]) -> tuple[float, float]:
    every = np.concatenate([np.ravel(values) for values in found])
    every = every[np.isfinite(every)]
    return _padded(float(every.min()), float(every.max()), 0.05)


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    room = share * (high - low) or 0.5 * abs(high) or 0.5
    return low - room, high + room


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
