"""The splits and classes of a folder of photos, found by the names of its folders."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from senet.cache import name_of
from senet.counted import counted
from senet.data.partition import PARTS
from senet.data.place import images_folder
from senet.data.table import read_table
from senet.data.walk import folders, walk, wanted
from senet.paths import table_of

SHOWN = 10  # how many names a message lists


@dataclass(frozen=True)
class Layout:
    """The folders of a data set.

    Attributes:
        root: the folder of the data set.
        parts: the class folders of every split; only of ``"train"`` if ``root`` itself holds them.
        divided: whether there are folders of splits.
    """

    root: Path
    parts: dict[str, Classes]
    divided: bool

    @property
    def name(self) -> str:
        """The name of its folder for messages."""
        return name_of(self.root)


@dataclass(frozen=True)
class Classes:
    """The class folders of one split.

    Attributes:
        folder: the folder that holds them, or the table.
        by_name: the folders of every class, or its files as a table names them, in the order of the
            names. A class can have two folders, if its name is written in two ways (é as one
            character, and as e with an accent).
    """

    folder: Path
    by_name: dict[str, list[Path]]

    @property
    def name(self) -> str:
        """The name of the folder, or of the table, for messages."""
        return name_of(self.folder)

    @property
    def unlabelled(self) -> int:
        """The number of images in the folder itself, if there are no class folders."""
        return 0 if self.by_name else len(walk(self.folder).files)


def find_layout(root: Path) -> Layout:
    """Return the layout of a folder, of what an archive holds, or of a table.

    Raises:
        ValueError: if there is no such folder, it cannot be read, or some of the folders in it are
            splits and others are not.
    """
    if table := table_of(root):
        return _of_table(*table)
    root = images_folder(root)
    inside = folders(root)
    parts = [(PARTS[f.name.lower()], f) for f in inside if f.name.lower() in PARTS]
    names = {part for part, _ in parts}
    if inside and len(names) == len(inside):
        return Layout(root, {part: _classes(folder) for part, folder in parts}, divided=True)
    if len(parts) > 1:
        raise ValueError(
            f"{name_of(root)}: the folders {listed([f.name for f in inside])} are neither a split"
            " (train, val, test, and train must be there) nor one folder per class"
        )
    return Layout(root, {"train": _classes(root)}, divided=False)


def _of_table(path: Path, columns: dict[str, str]) -> Layout:
    rows, divided = read_table(path, columns)
    found: dict[str, dict[str, list[Path]]] = {}
    for row in rows:
        by_name = found.setdefault(row.part, {})
        by_name.setdefault(same_name(row.label), []).append(path.parent / row.file)
    parts = {p: Classes(path, dict(sorted(own.items(), key=_order))) for p, own in found.items()}
    return Layout(path, parts, divided)


def _order(item: tuple[str, list[Path]]) -> tuple[bool, int, str]:
    """Return a sort key of classes: by name, and numbers by value."""
    name = item[0]
    number = name.isascii() and name.isdecimal()
    return (not number, int(name) if number else 0, name)


def require_classes(classes: Classes) -> None:
    """Refuse a folder without class folders.

    Raises:
        ValueError: if there is none; the message says what is there instead, and what to do.
    """
    folder = classes.folder
    if not classes.by_name:
        tables = sorted(folder.glob("*.csv"))
        files = sum(entry.is_file() and wanted(entry.name) for entry in folder.iterdir())
        example = name_of(folder / "cat")
        raise ValueError(
            f"{classes.name} holds no class folder ({counted(files, 'file')} directly in it); put "
            f"the images of every class into a folder of that name, such as {example}"
            + (f"; or name the table of their classes, as in {tables[0]}" if tables else "")
        )


def same_name(name: str) -> str:
    r"""Return a name in one form, however it is written.

    Example:
        >>> same_name("cafe\u0301") == same_name("caf\u00e9") == "caf\u00e9"
        True
    """
    return unicodedata.normalize("NFC", name)


def listed(names: Iterable[str]) -> str:
    """Return names for a message: the first ten, and how many more there are."""
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


def number_of(classes: Sequence[str]) -> dict[str, int]:
    """Return the number of every class by its name, in the form of :func:`same_name`."""
    return {same_name(name): number for number, name in enumerate(classes)}


def _classes(folder: Path) -> Classes:
    found: dict[str, list[Path]] = {}
    for one in folders(folder):
        found.setdefault(same_name(one.name), []).append(one)
    return Classes(folder, dict(sorted(found.items())))
