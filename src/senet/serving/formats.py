"""Predictions as text: a table for readers, JSON, JSON lines and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from senet import files

if TYPE_CHECKING:
    from senet.serving.predict import Prediction

FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".txt": "table", "": "table"}
"""The format by the suffix of a file."""


def of_file(path: Path | None) -> str:
    """Return the format that the suffix of a file stands for.

    Raises:
        ValueError: for any other suffix; the message names the known ones.

    Example:
        >>> of_file(Path("classes.csv")), of_file(None)
        ('csv', 'table')
    """
    suffix = path.suffix.lower() if path else ""
    if suffix not in FORMATS:
        known = ", ".join(filter(None, FORMATS))
        raise ValueError(
            f"{path}: predictions cannot be written as {suffix}, only as {known} (a table). Name"
            " such a file, or give --format"
        )
    return FORMATS[suffix]


def require_new(path: Path) -> None:
    """Refuse a file that already exists, since it may be one of the images, or cannot be written.

    Raises:
        FileExistsError: if it exists.
        FileNotFoundError: if its folder does not exist.
        OSError: if it cannot be written there.
    """
    if path.exists():
        raise FileExistsError(f"{path} already exists: name another file, or delete it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    files.require_writable(path)


def write(path: Path, format: str, predictions: Sequence[Prediction]) -> None:
    """Write predictions to a new file as :func:`as_text` formats them, whole or not at all."""
    require_new(path)
    files.write_bytes(path, as_bytes(format, predictions))


def as_bytes(format: str, predictions: Sequence[Prediction]) -> bytes:
    r"""Return predictions as :func:`as_text` formats them, in UTF-8 on every platform.

    File names need not be valid text: a byte that is not becomes an escape such as ``\udce9``,
    which JSON reads as Python's own stand-in for it; ``os.fsencode`` turns that back into the byte.
    """
    return as_text(format, predictions).encode("utf-8", "backslashreplace")


def as_text(format: str, predictions: Sequence[Prediction]) -> str:
    """Return predictions in a format: ``"table"``, ``"json"``, ``"jsonl"`` or ``"csv"``."""
    if format == "json":
        return as_json(predictions)
    if format == "jsonl":
        return "".join(map(as_json_line, predictions))
    if format == "csv":
        return as_csv(predictions)
    assert format == "table", format
    console = Console(width=160, file=io.StringIO(), color_system=None)
    with console.capture() as text:
        console.print(as_table(predictions))
    return text.get()


def as_table(predictions: Sequence[Prediction]) -> Table:
    """Return a table with a row per image: class, probability, the next best ones, any error."""
    more = max((len(p.guesses) for p in predictions), default=0) > 1
    labelled = any(p.label for p in predictions)
    failed = any(p.error for p in predictions)
    table = Table(box=box.ROUNDED, border_style="dim", header_style="bold")
    table.add_column("file", overflow="fold")
    if labelled:
        table.add_column("label", overflow="fold")
    table.add_column("class", overflow="fold", style="bold")
    table.add_column("probability", justify="right", no_wrap=True)
    if more:
        table.add_column("next best", overflow="fold", style="dim")
    if failed:
        table.add_column("error", overflow="fold", style="red")
    for prediction in predictions:
        best, *rest = prediction.guesses or (("", 0.0),)
        cells = [
            prediction.name,
            *([prediction.label] if labelled else []),
            answer(prediction),
            percent(best[1]) if prediction.guesses else "",
        ]
        if more:
            cells.append("\n".join(f"{name} {percent(p)}" for name, p in rest))
        if failed:
            cells.append(prediction.error)
        table.add_row(*map(Text, cells))  # names may hold what rich takes for markup
    return table


def as_json(predictions: Sequence[Prediction]) -> str:
    """Return a list of objects: ``file``, ``class``, ``probability``, ``guesses``, ``error``.

    ``guesses`` includes the first one. For an image that could not be read, all but ``file`` and
    ``error`` are ``null``; for any other, ``error`` is. With a threshold there is ``unsure`` too,
    true where ``probability`` is below it; with an image's class in a table, ``label``.
    """
    rows = [_fields(prediction) for prediction in predictions]
    return json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_json_line(prediction: Prediction) -> str:
    """Return one prediction as one line, an object as in :func:`as_json`."""
    return json.dumps(_fields(prediction), ensure_ascii=False, allow_nan=False) + "\n"


def _fields(prediction: Prediction) -> dict[str, Any]:
    name, probability = prediction.guesses[0] if prediction.guesses else (None, None)
    guesses = [{"class": name, "probability": p} for name, p in prediction.guesses]
    unsure = {} if prediction.unsure is None else {"unsure": prediction.unsure}
    label = {"label": prediction.label} if prediction.label else {}
    return {
        "file": prediction.name,
        **label,
        "class": name,
        "probability": probability,
        **unsure,
        "guesses": guesses or None,
        "error": prediction.error or None,
    }


def as_csv(predictions: Sequence[Prediction]) -> str:
    """Return a header and a row per image: ``file,class,probability,class2,…,error``.

    With a threshold there is ``unsure`` before ``error``: ``true`` or ``false``. If a table names
    the classes of images, there is ``label`` after ``file``.
    """
    labelled = any(p.label for p in predictions)
    judged = any(p.unsure is not None for p in predictions)
    guesses = max((len(p.guesses) for p in predictions), default=1) or 1
    header = ["file", *(["label"] if labelled else [])]
    for i in range(1, guesses + 1):
        number = "" if i == 1 else str(i)
        header += [f"class{number}", f"probability{number}"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, *(["unsure"] if judged else []), "error"])
    for prediction in predictions:
        cells = [cell for name, p in prediction.guesses for cell in (name, f"{p:.6f}")]
        empty = [""] * (2 * guesses - len(cells))
        unsure = {None: "", True: "true", False: "false"}[prediction.unsure]
        judgement = [unsure] if judged else []
        label = [prediction.label] if labelled else []
        writer.writerow([prediction.name, *label, *cells, *empty, *judgement, prediction.error])
    return text.getvalue()


def answer(prediction: Prediction) -> str:
    """Return the class for a reader: with a word before it where the network is unsure.

    Example:
        >>> from senet.serving import Prediction
        >>> answer(Prediction("a.jpg", (("cat", 0.4),), unsure=True))
        'unsure: cat'
    """
    if not prediction.guesses:
        return ""
    return f"unsure: {prediction.guesses[0][0]}" if prediction.unsure else prediction.guesses[0][0]


def percent(share: float) -> str:
    """Return a probability as a percentage, without claiming a certainty that no network has.

    Example:
        >>> percent(0.873), percent(0.99999), percent(0.00001)
        ('87.3 %', '> 99.9 %', '< 0.1 %')
    """
    if share > 0.999:
        return "> 99.9 %"
    return "< 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
