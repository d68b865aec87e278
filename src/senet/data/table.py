"""Tables of images: a CSV file with the file, the class and perhaps the split of each image."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from senet.data.partition import PARTS
from senet.near import near
from senet.paths import is_url

# Names that columns are found by, in upper or lower case; the first that is there counts.
NAMES = {
    "file": ("file", "filename", "file_name", "filepath", "file_path", "path", "image", "img",
             "image_path", "image_file"),
    "label": ("label", "class", "category", "target", "labels", "class_name"),
    "split": ("split", "set", "subset", "partition"),
}  # fmt: skip


Line = tuple[int, Mapping[str, str | None]]
"""The number of a line, and its cells by the names of their columns."""


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
    found, lines = _opened(path, columns, needed=("file", "label"))
    rows = [_row(path, line, cells, found) for line, cells in lines]
    return _agreeing(path, rows), "split" in found


def read_listed(path: Path, columns: Mapping[str, str]) -> dict[str, str]:
    """Return the images that a table lists, each once, with the names of their classes.

    This is for images whose classes nobody needs to know: a table without such a column, or a row
    without a class, gives ``""``. Splits mean nothing here.

    Args:
        path: the file; its first line names the columns.
        columns: the columns for ``file`` and ``label``; those that are not named are found.

    Returns:
        classes by file, in the order of the table. A file is relative to the current folder, as
        ``path`` is, or absolute, or the address of an image on the web.

    Raises:
        ValueError: if the file cannot be read, a column is missing, a row has no file, or two rows
            name different classes for one image.
    """
    found, lines = _opened(path, columns, needed=("file",))
    listed: dict[str, str] = {}
    for line, cells in lines:
        file, label = (_cell(cells, found, what) for what in ("file", "label"))
        if not file:
            raise ValueError(f"{path}, line {line}: there is no file in this row")
        file = file if is_url(file) else str(path.parent / file)
        if listed.setdefault(file, label) != label:
            raise ValueError(f"{path} names {file} twice, as {listed[file]!r} and as {label!r}")
    return listed


def _opened(
    path: Path, columns: Mapping[str, str], needed: Sequence[str]
) -> tuple[dict[str, str], Sequence[Line]]:
    """Return the names of the columns for file, label and split, and the lines below them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not text in UTF-8: {error}. Save it as CSV in UTF-8"
        ) from error
    lines = text.splitlines(keepends=True)
    if not text.strip():
        raise ValueError(f"{path} is empty: its first line must name the columns, as in file,label")
    head = lines[0]
    try:
        table = csv.DictReader(lines, delimiter=max(",;\t", key=head.count))
        there = [name for name in table.fieldnames or () if name]
        found = _columns(path, there, columns, needed)
        rows = [(table.line_num, cells) for cells in table]
    except csv.Error as error:
        raise ValueError(f"{path} is not a table: {error}") from error
    if not rows:
        raise ValueError(f"{path} names no image: it has no row below the names of its columns")
    return found, rows


def _columns(
    path: Path, there: Sequence[str], columns: Mapping[str, str], needed: Sequence[str]
) -> dict[str, str]:
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
        elif what in needed:
            raise ValueError(
                f"{path} has no column for the {what} of an image, but"
                f" {', '.join(there) or 'none'}."
                f" Name it: {path.name}:{what}=COLUMN"
            )
    return found


def _row(path: Path, line: int, cells: Mapping[str, str | None], found: Mapping[str, str]) -> Row:
    where = f"{path}, line {line}"
    file, label = (_cell(cells, found, what) for what in ("file", "label"))
    if not file or not label:
        raise ValueError(f"{where}: there is no {'file' if not file else 'class'} in this row")
    if "split" not in found:
        return Row(file, label, "train")
    word = _cell(cells, found, "split")
    if word.lower() not in PARTS:
        raise ValueError(
            f"{where}: the split is {word!r}; known are {', '.join(PARTS)}. If the column "
            "means something else, name another: split=COLUMN"
        )
    return Row(file, label, PARTS[word.lower()])


def _cell(cells: Mapping[str, str | None], found: Mapping[str, str], what: str) -> str:
    """Return a cell without blanks around it; empty if there is none."""
    return (cells[found[what]] or "").strip() if what in found else ""


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
