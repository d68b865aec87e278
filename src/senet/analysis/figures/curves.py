"""Loss and accuracy curves by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from senet.figures.style import COLOUR, panel, styled


@dataclass(frozen=True)
class Curve:
    """A quantity by epoch, for one seed of the plain network or of the one with SE."""

    role: str
    epochs: np.ndarray
    train: np.ndarray
    val: np.ndarray


@styled
def curves(name: str, found: Sequence[Curve], shares: bool) -> Figure:
    """Draw a quantity by epoch: validation solid, training dotted; seeds thin, their mean bold.

    Args:
        name: name of the quantity.
        found: one curve per run.
        shares: whether it is a share, written in per cent; if not, the axis is logarithmic, which
            keeps the late epochs apart after a large loss in the first.
    """
    label = f"{name} by epoch. " + "; ".join(
        f"{c.role}: {_last(c.train)} in training, {_last(c.val)} in validation at the end"
        for c in found
    )
    figure, axes = panel(250, label)
    low = 0.0 if shares else 1e-6  # zero has no logarithm
    for role in ("plain", "se"):
        for part in ("train", "val"):
            seeds = [(c.epochs, np.maximum(getattr(c, part), low)) for c in found if c.role == role]
            _seeds(axes, [(x, y) for x, y in seeds if np.isfinite(y).any()], role, part)
    axes.set_xlabel("epoch")
    axes.margins(x=0)
    axes.grid(visible=False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    if shares:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    else:
        axes.set_yscale("log")
        bottom, top = axes.get_ylim()
        few = top / bottom < 8  # ticks at 1, 2, 5 times powers of ten
        axes.yaxis.set_major_locator(MaxNLocator(6) if few else LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return figure


def _seeds(axes: Axes, seeds: list[tuple[np.ndarray, np.ndarray]], role: str, part: str) -> None:
    if not seeds:
        return
    if len(seeds) > 1:
        if part == "val":
            for x, y in seeds:
                axes.plot(x, y, color=COLOUR[role], linewidth=1, alpha=0.45)
        length = min(len(x) for x, _ in seeds)
        mean = np.mean([y[:length] for _, y in seeds], axis=0)
        seeds = [(seeds[0][0][:length], mean)]
    ((x, y),) = seeds
    alone = "o" if len(x) == 1 else None  # a line of one point is invisible
    line = "-" if part == "val" else ":"
    axes.plot(x, y, line, color=COLOUR[role], marker=alone)


def _last(values: np.ndarray) -> str:
    return f"{values[-1]:.3g}" if len(values) and np.isfinite(values[-1]) else "nothing"
