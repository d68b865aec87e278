"""Tables of images: a CSV file with the file, the class and perhaps the split of each image."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from senet.data.partition import PARTS
from senet.near import near

# Names that columns are found by, in upper or lower case; the first that is there counts.
NAMES = {
    "file": ("file", "filename", "file_name", "filepath", "file_path", "path", "image", "img",
             "image_path", "image_file"),
    "label": ("label", "class", "category", "target", "labels", "class_name"),
    "split": ("split", "set", "subset", "partition"),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """An image of a table.

    Attributes:
        file: its file, relative to the folder of the table, or absolute.
        label: the name of its class.
        part: ``"train"``, ``"val"`` or ``"test"``.
    """

    file: str
    label: str
    part: str


def read_table(path: Path, columns: Mapping[str, str]) -> tuple[list[Row], bool]:
    """Return the images of a table, and whether it has a column of splits.

    Cells are separated by commas, semicolons or tabs, whichever the first line has the most of.

    Args:
        path: the file; its first line names the columns.
        columns: the columns for ``file``, ``label`` and ``split``; those that are not named are
            found by :data:`NAMES`. Without a column of splits, all images are of ``"train"``.

    Raises:
        ValueError: if the file cannot be read, a column is missing, a row has no file or no class,
            a split has another name, or two rows contradict one another.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not text in UTF-8: {error}. Save it as CSV in UTF-8"
        ) from error
    lines = text.splitlines(keepends=True)
    head = lines[0] if lines else ""
    try:
        table = csv.DictReader(lines, delimiter=max(",;\t", key=head.count))
        found = _columns(path, [name for name in table.fieldnames or () if name], columns)
        rows = list(_rows(path, table, found))
    except csv.Error as error:
        raise ValueError(f"{path} is not a table: {error}") from error
    if not rows:
        raise ValueError(f"{path} names no image: it has no row below the names of its columns")
    return _agreeing(path, rows), "split" in found


def _columns(path: Path, there: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Return the names of the columns for file, label and split."""
    by_name = {name.strip().lower(): name for name in reversed(there)}
    found = {}
    for what, names in NAMES.items():
        if what in columns:
            if columns[what] not in there:
                guess = near(columns[what], there)
                raise ValueError(
                    f"{path} has no column {columns[what]!r}, but {', '.join(there)}.{guess}"
                )
            found[what] = columns[what]
        elif name := next((by_name[n] for n in names if n in by_name), None):
            found[what] = name
        elif what != "split":
            raise ValueError(
                f"{path} has no column for the {what} of an image, but"
                f" {', '.join(there) or 'none'}."
                f" Name it: {path.name}:{what}=COLUMN"
            )
    return found


def _rows(path: Path, table: csv.DictReader, found: Mapping[str, str]) -> Iterator[Row]:
    for cells in table:
        where = f"{path}, line {table.line_num}"
        file, label = ((cells[found[what]] or "").strip() for what in ("file", "label"))
        if not file or not label:
            raise ValueError(f"{where}: there is no {'file' if not file else 'class'} in this row")
        part = "train"
        if "split" in found:
            word = (cells[found["split"]] or "").strip()
            if word.lower() not in PARTS:
                raise ValueError(
                    f"{where}: the split is {word!r}; known are {', '.join(PARTS)}. If the column "
                    "means something else, name another: split=COLUMN"
                )
            part = PARTS[word.lower()]
        yield Row(file, label, part)


def _agreeing(path: Path, rows: Sequence[Row]) -> list[Row]:
    """Return each image once; refuse one of two classes or splits."""
    found: dict[str, Row] = {}
    for row in rows:
        if found.setdefault(row.file, row) != row:
            other = found[row.file]
            raise ValueError(
                f"{path} names {row.file} twice, as {other.label} ({other.part}) and as "
                f"{row.label} ({row.part}): senet trains classifiers, with one class per image"
            )
    return list(found.values())
