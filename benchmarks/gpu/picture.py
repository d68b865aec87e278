"""Learning curves of the trainings, from the records, as a picture for the documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.gpu.summary import Twins
from benchmarks.ledger import Row
from senet.figures.style import COLOUR, STYLE, WIDTH, styled


@styled
def curves(found: Sequence[Twins]) -> Figure:
    """Draw the test error by epoch, a panel per pair of twins; seeds thin, their mean bold."""
    label = "Test error by epoch, plain networks in blue and those with SE in orange"
    figure = Figure(figsize=(2 * WIDTH / 72, 220 / 72 * -(-len(found) // 2)))
    figure.set_label(label)
    figure.set_facecolor(COLOUR["card"])
    rows = -(-len(found) // 2)
    for place, pair in enumerate(found):
        axes = figure.add_subplot(rows, 2 if len(found) > 1 else 1, place + 1)
        axes.set_title(f"{pair.data}, {pair.plain} and with SE", fontsize=11.5)
        for i, role in enumerate(("plain", "se")):
            _seeds(axes, [both[i] for both in pair.pairs], COLOUR[role])
        axes.set_xlabel("epoch")
        axes.set_ylabel("test error, %")
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
    return figure


def _seeds(axes: Axes, rows: Sequence[Row], colour: str) -> None:
    epochs = [point["epoch"] for point in rows[0]["curve"]]
    errors = [[100 * (1 - p["test_accuracy"]) for p in row["curve"]] for row in rows]
    for error in errors if len(errors) > 1 else ():
        axes.plot(epochs, error, color=colour, linewidth=1, alpha=0.45)
    axes.plot(epochs, np.mean(errors, axis=0), color=colour)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG; equal figures give equal bytes."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": path.stem}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")
