"""The folder of an explanation: the page, its numbers as CSV and arrays, its figures as SVG."""

from __future__ import annotations

import csv
import io
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from senet import files
from senet.explain.page import draw, page
from senet.explain.tables import Table, tables
from senet.figures.style import STYLE
from senet.paths import expanded

if TYPE_CHECKING:
    from senet.explain.explanation import Explanation

PAGE = "explain.html"


def require_new(folder: str | os.PathLike[str]) -> Path:
    """Return a folder to write into; refuse one that holds something, or cannot be written to."""
    path = expanded(folder)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(
            f"{path} exists already, and nothing in it was changed: name a new folder (--out)"
        )
    there = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    files.require_writable(there / path.name)
    return path


def save(found: Explanation, folder: str | os.PathLike[str], language: str | None) -> Path:
    """Write an explanation into a new folder, the page last: see :meth:`.Explanation.save`."""
    path = require_new(folder)
    every = tables(found)
    html = page(found, language, list(every))
    (path / "figures").mkdir(parents=True, exist_ok=True)
    for name, table in every.items():
        files.write_text(path / f"{name}.csv", _csv(table))
        if find_spec("pyarrow") is not None:
            _write_parquet(path / f"{name}.parquet", table)
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


def _csv(table: Table) -> str:
    columns, rows = table
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"{one:.8g}" if isinstance(one, float) else one for one in row])
    return stream.getvalue()


def _write_parquet(path: Path, table: Table) -> None:
    import pyarrow
    from pyarrow import parquet

    columns, rows = table
    arrays = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
    with files.whole(path) as aside:
        parquet.write_table(pyarrow.table(arrays), aside)


def _arrays(found: Explanation) -> dict[str, np.ndarray]:
    """Return the numbers of all classes and blocks: ``mean:layer1.0.se`` and so on."""
    arrays = {"classes": np.array(found.classes)}
    for path, block in found.blocks.items():
        arrays[f"mean:{path}"] = block.mean.float().numpy()
        arrays[f"std:{path}"] = block.std.float().numpy()
        arrays["images"] = block.images.numpy()
    return arrays
