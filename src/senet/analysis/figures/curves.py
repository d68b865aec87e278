"""Figures by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from senet.analysis.svg import WIDTH, Axes, log_ticks, padded, ticks, whole_ticks


@dataclass(frozen=True)
class Curve:
    """A figure by epoch, of one seed of the plain network or of the one with SE."""

    role: str
    epochs: np.ndarray
    train: np.ndarray
    val: np.ndarray


def curves(name: str, found: Sequence[Curve], shares: bool) -> Axes:
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
        low, high = padded(float(every.min()), float(every.max()), 0.04)
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
    for role in ("plain", "se"):
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
