"""The images that a user names: the files behind a folder, a pattern, a list, or an address."""

from __future__ import annotations

import glob
import os
import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from senet.paths import expanded, is_archive, is_url, table_of

STDIN = "-"
"""The name that stands for a list on standard input, one name a line."""

_AT_ONCE = 0.05  # seconds; what comes later than this after a name has not come together with it


@dataclass(frozen=True)
class Found:
    """A file or an address, or a name that stands for neither and the reason as ``error``.

    ``skipped`` marks a file that was found in a folder and is not an image: nobody named it.
    ``label`` is the name of its class, if a table says so.
    """

    file: str
    error: str = ""
    skipped: bool = field(default=False, repr=False)
    label: str = field(default="", repr=False, compare=False)


def find_images(names: Iterable[str | os.PathLike[str]]) -> list[Found]:
    """Return the files that ``names`` stand for, in their order, each once.

    A file is taken as it is, whatever its suffix, and so is an address of the web. A folder stands
    for the images in it and its subfolders, as :mod:`senet.data.walk` recognizes them; its other
    files are returned as ``skipped``. An archive stands for the images in it, and a table
    (``labels.csv``, or ``labels.csv:file=COLUMN``) for those that it lists, with their labels if it
    has any; see :mod:`senet.data.table`. ``-`` stands for the names on standard input, one a line.
    Any other name may be a pattern: ``*``, ``?`` and ``[…]``, and ``**`` for folders of any depth.
    Nothing here raises: a name that stands for nothing, or a folder that cannot be read, is
    returned with the reason, so that the other images still get their predictions.

    Example:
        >>> find_images(["no such.jpg"])
        [Found(file='no such.jpg', error='there is no such file')]
    """
    found = [one for name in names for one in _expand(name)]
    return list(dict.fromkeys(found))


def images_as_they_come(names: Iterable[str | os.PathLike[str]]) -> Iterator[Found | None]:
    """Yield what :func:`find_images` returns, while the list on standard input may still grow.

    ``None`` says that nothing more has come for now.
    """
    seen = set()
    for name in names:
        pieces = _lines_as_they_come(sys.stdin) if os.fspath(name) == STDIN else (name,)
        for piece in pieces:
            if piece is None:
                yield None
                continue
            for one in _expand(piece):
                if one not in seen:
                    seen.add(one)
                    yield one


def _expand(given: str | os.PathLike[str]) -> Iterator[Found]:
    word = os.fspath(given)
    if word == STDIN:
        for line in _lines(sys.stdin):
            yield from _expand(line)
    elif "://" in word:
        yield Found(word, "" if is_url(word) else "only http and https addresses can be fetched")
    else:
        yield from _of_path(os.fspath(expanded(word)))


def _of_path(name: str) -> Iterator[Found]:
    try:
        table = table_of(name)
    except ValueError as error:  # it names columns that a table does not have
        yield Found(name, str(error))
        return
    if table and table[0].is_file():
        yield from _of_table(name, *table)
    elif is_archive(name) and os.path.isfile(name):
        yield from _of_archive(name)
    elif os.path.isfile(name):
        yield Found(name)
    elif os.path.isdir(name):
        yield from _of_folder(name)
    elif glob.has_magic(name):
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            yield Found(name, "no file matches this pattern")
        for match in matches:
            yield from _of_path(match)
    else:
        yield Found(name, "there is no such file")


def _of_archive(name: str) -> Iterator[Found]:
    from senet.data.archive import extracted  # imports PyTorch

    try:
        yield from _of_folder(str(extracted(Path(name))))
    except (ValueError, OSError) as error:
        yield Found(name, str(error))


def _of_table(name: str, path: Path, columns: dict[str, str]) -> Iterator[Found]:
    from senet.data.layout import same_name  # imports PyTorch
    from senet.data.table import read_listed

    try:
        listed = read_listed(path, columns)
    except ValueError as error:
        yield Found(name, str(error))
        return
    for file, label in listed.items():
        yield Found(file, label=same_name(label))


def _lines(stream: TextIO) -> Iterator[str]:
    """Yield the names in a list; a name that is not text keeps its bytes, as file names do."""
    raw = getattr(stream, "buffer", None)
    for line in stream if raw is None else raw:
        name = line if isinstance(line, str) else os.fsdecode(line)
        if name := name.rstrip("\r\n"):
            yield name if name != STDIN else f".{os.sep}{STDIN}"


def _lines_as_they_come(stream: TextIO) -> Iterator[str | None]:
    """Yield the names in a list, and ``None`` whenever the next one is still to come."""
    lines: queue.Queue[str | None] = queue.Queue(maxsize=1000)
    ended = None

    def read() -> None:
        try:
            for name in _lines(stream):
                lines.put(name)
        finally:
            lines.put(ended)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            name = lines.get(timeout=_AT_ONCE)
        except queue.Empty:
            yield None
            name = lines.get()
        if name is ended:
            return
        yield name


def _of_folder(name: str) -> Iterator[Found]:
    from senet.data.walk import walk  # imports PyTorch

    found = walk(name)
    yield from (Found(file) for file in found.files)
    for place, reason in found.skipped.items():
        yield Found(place, reason, skipped=not os.path.isdir(place))
    if not found.files and name not in found.skipped:
        yield Found(name, "the folder holds no image")
