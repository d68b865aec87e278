"""Learning curves of the trainings, from the records, as a picture for the documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.summary import Twins
from benchmarks.ledger import Row
from senet.figures.style import COLOUR, STYLE, WIDTH, styled


@styled
def curves(found: Sequence[Twins]) -> Figure:
    """Draw the test accuracy by epoch, a panel per pair of twins; seeds thin, their mean bold."""
    rows, columns = -(-len(found) // 2), min(2, len(found))
    figure = Figure(figsize=(columns * WIDTH / 72, 240 / 72 * rows))
    figure.set_label("Test accuracy by epoch, plain networks in blue and those with SE in orange")
    figure.set_facecolor(COLOUR["card"])
    for place, pair in enumerate(found):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.set_title(f"{pair.data}, {pair.label}, and plain", fontsize=11.5)
        for i, role in enumerate(("plain", "se")):
            _seeds(axes, [both[i] for both in pair.pairs], COLOUR[role])
        axes.set_xlabel("epoch")
        axes.set_ylabel("test accuracy, %")
        axes.margins(x=0)
    return figure


def _seeds(axes: Axes, rows: Sequence[Row], colour: str) -> None:
    epochs = [point["epoch"] for point in rows[0]["curve"]]
    found = [[100 * point["test_accuracy"] for point in row["curve"]] for row in rows]
    for accuracies in found if len(found) > 1 else ():
        axes.plot(epochs, accuracies, color=colour, linewidth=1, alpha=0.45)
    axes.plot(epochs, np.mean(found, axis=0), color=colour)


def save(found: Sequence[Twins], path: Path) -> str:
    """Write the picture as SVG, and return the lines of a document that show it.

    Equal figures give equal bytes.

    Raises:
        FileNotFoundError: if there is no pair.
    """
    if not found:
        raise FileNotFoundError("there is no pair of finished trainings yet")
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": path.stem}):
        curves(found).savefig(path, format="svg", metadata={"Date": None})
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")
    return (
        f"![Test accuracy by epoch, with SE and without]({path.name})\n\n"
        "Plain networks in blue, those with SE in orange; thin lines are seeds, bold ones means.\n"
    )
