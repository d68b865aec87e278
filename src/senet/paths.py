"""Paths as users write them."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path

from senet.near import near

LABELS = "labels.npz"
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
COLUMNS = ("file", "label", "split")
MOST_BESIDE = 1000
"""How many names in a folder are looked at for one that is meant."""
_TABLE = re.compile(r"(.*\.(?:csv|tsv))(?::(.*=.*))?", re.IGNORECASE | re.DOTALL)


def expanded(place: str | os.PathLike[str]) -> Path:
    """Return the path that ``~/photos`` or ``$DATA/photos`` stands for.

    Unknown variables stay as written. A shell expands ``~`` only at the start of a word: it leaves
    ``--out=~/photos`` as it is.

    Example:
        >>> os.environ["DATA"] = "/mnt"
        >>> expanded("$DATA/photos").as_posix(), expanded("runs/$x").as_posix()
        ('/mnt/photos', 'runs/$x')
    """
    return Path(os.path.expandvars(os.fspath(place))).expanduser()


def is_place(name: str) -> bool:
    """Return whether a word can only be a path, and not the name of a data set.

    Example:
        >>> is_place("./photos"), is_place("/mnt/photos"), is_place("food101")
        (True, True, False)
    """
    return name.startswith((".", "~", "$")) or os.path.isabs(name)


def is_url(word: str) -> bool:
    """Return whether ``word`` is the address of a file on the web.

    Example:
        >>> is_url("https://example.org/a.pth"), is_url("timm/seresnet50.a1_in1k")
        (True, False)
    """
    return word.startswith(("https://", "http://"))


def is_mosaic(path: Path) -> bool:
    """Return whether a folder holds images in mosaics, as :mod:`senet.data.mosaic` reads them."""
    return (path / LABELS).is_file()


def is_archive(place: str | os.PathLike[str]) -> bool:
    """Return whether a path is that of a zip or tar file, by its name.

    Example:
        >>> is_archive("photos.tar.gz"), is_archive("photos/cat.jpg")
        (True, False)
    """
    return os.fspath(place).lower().endswith(ARCHIVES)


def table_of(place: str | os.PathLike[str]) -> tuple[Path, dict[str, str]] | None:
    """Return the file of a table of images, and the columns that are named after it.

    Returns:
        ``None`` if the path is not that of a table.

    Raises:
        ValueError: if a column is named for something that a table does not have.

    Example:
        >>> table_of("labels.csv:file=photo,label=species")
        (PosixPath('labels.csv'), {'file': 'photo', 'label': 'species'})
    """
    match = _TABLE.fullmatch(os.fspath(place))
    if match is None:
        return None
    columns: dict[str, str] = {}
    for pair in filter(None, (match[2] or "").split(",")):
        what, _, columns[what] = pair.partition("=")
    for what, column in columns.items():
        if what not in COLUMNS or not column:
            raise ValueError(
                f"{place}: columns are named as in labels.csv:file=COLUMN,label=COLUMN,split="
                f"COLUMN.{near(what, COLUMNS)}"
            )
    return Path(match[1]), columns


def is_images(place: Path) -> bool:
    """Return whether a path holds images in files: a folder of them, an archive, or a table."""
    table = table_of(place)
    if table is not None:
        return table[0].is_file()
    return not is_mosaic(place) if place.is_dir() else is_archive(place) and place.is_file()


def no_folder(name: str | os.PathLike[str]) -> str:
    """Return the message about a missing folder: how far its path exists, and what may be meant.

    Example:
        >>> no_folder("/no/photos")
        "there is no folder '/no/photos': there is no '/no' either"
    """
    path = expanded(name)
    text = f"there is no folder {os.fspath(name)!r}"
    above = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if above != path.absolute().parent:
        first = path.absolute().relative_to(above).parts[0]
        return f"{text}: there is no {str(above / first)!r} either"
    guess = near_beside(path, folders=True)
    return f"{text}.{guess}" if guess else text


def no_images(name: str) -> str:
    """Return the message about a missing folder, table or archive of images, by its name.

    Example:
        >>> no_images("no/labels.csv:file=photo"), no_images("no/photos.zip")
        ("there is no table 'no/labels.csv'", "there is no archive 'no/photos.zip'")
    """
    table = table_of(name)
    if table is None and not is_archive(name):
        return no_folder(name)
    path = table[0] if table else Path(name)
    text = f"there is no {'table' if table else 'archive'} {os.fspath(path)!r}"
    guess = near_beside(expanded(path))
    return f"{text}.{guess}" if guess else text


def near_beside(path: Path, folders: bool = False) -> str:
    """Return a question about a path that does not exist: is another one in its folder meant?

    Args:
        path: the path.
        folders: whether only a folder can be meant.

    Returns:
        an empty text if no name there is like it.
    """
    try:
        inside = list(islice(path.parent.iterdir(), MOST_BESIDE))
    except OSError:
        return ""
    return near(path.name, [one.name for one in inside if not folders or one.is_dir()])
