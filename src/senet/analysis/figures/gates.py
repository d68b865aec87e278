"""Gates by channel: Figures 6 and 7 of the paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from senet.analysis.gates import BlockGates
from senet.analysis.svg import WIDTH, Axes, Picture, padded, ticks, whole_ticks

COLOURS = 10
"""Classes that one picture can tell apart."""


def by_class(
    blocks: Sequence[BlockGates], shown: Sequence[int], classes: Sequence[str]
) -> list[Picture]:
    """Figure 6 of the paper: mean gate by channel, a line a class, one picture a block.

    Channels stand in the order of their mean over all images, so that the mean is a rising line
    and a class that differs leaves it.

    Args:
        blocks: which to show.
        shown: which classes have a line, at most :data:`COLOURS`.
        classes: names of all classes.
    """
    low, high = _gate_range([b.mean.numpy() for b in blocks])
    pictures: list[Picture] = []
    for block in blocks:
        order = block.overall.argsort()
        x = list(range(1, len(order) + 1))
        axes = _gate_axes(block, low, high)
        for colour, k in enumerate(shown):
            axes.line(x, block.mean[k][order].tolist(), class_=f"gate k{colour}", tip=classes[k])
        axes.line(x, block.overall[order].tolist(), class_="gate all", tip="all images")
        pictures.append(axes)
    return pictures


def within_classes(
    blocks: Sequence[BlockGates], two: Sequence[tuple[int, int]], classes: Sequence[str]
) -> list[Picture]:
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
    pictures: list[Picture] = []
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
    return padded(float(every.min()), float(every.max()), 0.05)
