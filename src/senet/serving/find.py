"""The images that a user names: the files behind a folder or a pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from senet.paths import expanded, is_archive


@dataclass(frozen=True)
class Found:
    """A file, or a name that stands for no file and the reason as ``error``.

    ``skipped`` marks a file that was found in a folder and is not an image: nobody named it.
    """

    file: str
    error: str = ""
    skipped: bool = field(default=False, repr=False)


def find_images(names: Iterable[str | os.PathLike[str]]) -> list[Found]:
    """Return the files that ``names`` stand for, in their order, each once.

    A file is taken as it is, whatever its suffix. A folder stands for the images in it and its
    subfolders, as :mod:`senet.data.walk` recognizes them; its other files are returned as
    ``skipped``. Any other name may be a pattern: ``*``, ``?`` and ``[…]``, and ``**`` for folders
    of any depth. Nothing here raises: a name that stands for nothing, or a folder that cannot be
    read, is returned with the reason, so that the other images still get their predictions.

    Example:
        >>> find_images(["no such.jpg"])
        [Found(file='no such.jpg', error='there is no such file')]
    """
    found = [one for name in names for one in _expand(os.fspath(expanded(name)))]
    return list(dict.fromkeys(found))


def _expand(name: str) -> Iterator[Found]:
    if is_archive(name) and os.path.isfile(name):
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
            yield from _expand(match)
    else:
        yield Found(name, "there is no such file")


def _of_archive(name: str) -> Iterator[Found]:
    from senet.data.archive import extracted  # imports PyTorch

    try:
        yield from _of_folder(str(extracted(Path(name))))
    except (ValueError, OSError) as error:
        yield Found(name, str(error))


def _of_folder(name: str) -> Iterator[Found]:
    from senet.data.walk import walk  # imports PyTorch

    found = walk(name)
    yield from (Found(file) for file in found.files)
    for place, reason in found.skipped.items():
        yield Found(place, reason, skipped=not os.path.isdir(place))
    if not found.files and name not in found.skipped:
        yield Found(name, "the folder holds no image")
