"""The folder of an explanation: the page, its numbers as CSV and arrays, its figures as SVG."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from senet import files
from senet.explain.blocks import BlockFacts, histograms
from senet.explain.by_class import paper_blocks, shown_classes
from senet.explain.page import draw, page
from senet.figures import gates as drawn
from senet.figures.style import STYLE
from senet.paths import expanded

if TYPE_CHECKING:
    from senet.explain.explanation import Explanation

PAGE = "explain.html"


def require_new(folder: str | os.PathLike[str]) -> Path:
    """Return a folder to write into, or raise an error if there is something in it."""
    path = expanded(folder)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(
            f"{path} exists already, and nothing in it was changed: name a new folder (--out)"
        )
    return path


def save(found: Explanation, folder: str | os.PathLike[str], language: str | None) -> Path:
    """Write an explanation into a new folder, the page last: see :meth:`.Explanation.save`."""
    path = require_new(folder)
    html = page(found, language, folder=True)
    (path / "figures").mkdir(parents=True, exist_ok=True)
    blocks = list(found.blocks.values())
    files.write_text(path / "gates.csv", _csv(_GATES, _gates(found)))
    files.write_text(path / "blocks.csv", _csv(_FACTS, map(_fact, found.facts)))
    counts, edges = histograms(blocks)
    columns = ["block", *(f"from_{edge:.3f}" for edge in edges[:-1])]
    rows = ([name, *own] for name, own in zip(found.blocks, counts.tolist(), strict=True))
    files.write_text(path / "histogram.csv", _csv(columns, rows))
    with files.whole(path / "gates.npz") as aside:
        np.savez_compressed(aside, allow_pickle=False, **_arrays(found))
    for section, figures in draw(found).items():
        for name, figure in figures:
            stem = "-".join(filter(None, (section, name)))
            place = path / "figures" / f"{stem}.svg"
            with files.whole(place) as aside, matplotlib.rc_context(STYLE):
                figure.savefig(aside, format="svg", metadata={"Date": None})
    files.write_text(path / PAGE, html)
    return path / PAGE


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()


_GATES = ("block", "class", "channel", "mean", "std")


def _gates(found: Explanation) -> Iterator[Sequence[object]]:
    """Yield every point of the figures by class; the mean over all images has an empty class."""
    blocks = paper_blocks(list(found.blocks.values()))
    for block in blocks:
        for k in shown_classes(blocks, drawn.COLOURS):
            pairs = zip(block.mean[k].tolist(), block.std[k].tolist(), strict=True)
            for channel, (mean, std) in enumerate(pairs):
                yield block.name, found.classes[k], channel, f"{mean:.6g}", f"{std:.6g}"
        for channel, mean in enumerate(block.overall.tolist()):
            yield block.name, "", channel, f"{mean:.6g}", ""


_FACTS = (
    *("block", "channels", "mean", "variation", "open", "closed"),
    *("by_class", "by_class_drawn", "shuffled", "better_than_chance", "why"),
)


def _fact(one: BlockFacts) -> Sequence[object]:
    return (
        *(one.name, one.channels, one.mean, one.variation, one.open, one.closed),
        *(one.share, one.drawn, one.level, one.informed, one.why),
    )


def _arrays(found: Explanation) -> dict[str, np.ndarray]:
    """Return the numbers of all classes and blocks: ``mean:layer1.0.se`` and so on."""
    arrays = {"classes": np.array(found.classes)}
    for path, block in found.blocks.items():
        arrays[f"mean:{path}"] = block.mean.float().numpy()
        arrays[f"std:{path}"] = block.std.float().numpy()
        arrays["images"] = block.images.numpy()
    return arrays
