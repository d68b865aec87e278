"""Images in folders of their predicted classes: copies or links; the originals stay."""

from __future__ import annotations

import filecmp
import itertools
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from senet import files
from senet.cache import cache_folder
from senet.paths import is_url
from senet.serving.predict import Prediction

UNSURE = "unsure"
"""The folder of images below the threshold."""


class Sorter:
    """A folder with a folder for each class, which images are put into.

    Nothing is moved, and nothing that is there is changed: an image of another content gets the
    next free name (``cat.jpg``, ``cat-2.jpg``, ...), and one that is there already is left. So an
    interrupted sorting is continued by repeating it.

    Args:
        place: the folder; it is made when the first image is put into it.
        classes: the names of the classes.
        links: make symbolic links instead of copies, except of images of the web and of archives:
            they are nowhere, or in the cache, which may be deleted at any time.

    Attributes:
        put: how many images were put into it.
        linked: how many of these are links.
        there: how many were there already.

    Raises:
        ValueError: if ``place`` exists and is not a folder.
    """

    def __init__(self, place: Path, classes: Iterable[str], links: bool = False) -> None:
        if place.exists() and not place.is_dir():
            raise ValueError(f"{place} is a file: name a folder to sort into")
        self.place, self.links = place, links
        self.put = self.linked = self.there = 0
        self._folders = folders_of(classes)

    def add(self, prediction: Prediction) -> Path | None:
        """Put an image where it belongs, and return its place; ``None`` for one without a class.

        Raises:
            OSError: if it cannot be written.
        """
        if not prediction.guesses:
            return None
        folder = self.place / self._folders["" if prediction.unsure else prediction.guesses[0][0]]
        folder.mkdir(parents=True, exist_ok=True)
        for target in _names(folder, _file_name(prediction.file)):
            if os.path.lexists(target):
                if self._is_same(target, prediction):
                    self.there += 1
                    return target
                continue
            try:
                self._make(target, prediction)
            except FileExistsError:  # another process was faster
                continue
            self.put += 1
            return target
        raise AssertionError("there is always a next name")

    def _is_same(self, target: Path, prediction: Prediction) -> bool:
        if prediction.content is not None:
            return target.is_file() and target.read_bytes() == prediction.content
        if not target.exists():  # a link to nothing
            return False
        source = Path(prediction.file)
        return target.samefile(source) or filecmp.cmp(source, target, shallow=False)

    def _make(self, target: Path, prediction: Prediction) -> None:
        if self.links and prediction.content is None:
            source = Path(prediction.file).resolve()
            if not source.is_relative_to(cache_folder().resolve()):
                target.symlink_to(source)
                self.linked += 1
                return
        with files.new(target) as aside:
            if prediction.content is None:
                shutil.copy2(prediction.file, aside)
            else:
                aside.write_bytes(prediction.content)


def folders_of(classes: Iterable[str]) -> dict[str, str]:
    """Return a folder name for each class, each another, and one for ``""``: the unsure ones.

    Class names come with weights, from anybody: none of them leads out of the folder.

    Example:
        >>> folders_of(["cat", "../x", "a/b", "a_b"])
        {'cat': 'cat', '../x': '_._x', 'a/b': 'a_b', 'a_b': 'a_b-2', '': 'unsure'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in (*classes, ""):
        plain = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", name or UNSURE).strip().rstrip(".")[:200]
        plain = re.sub(r"^\.", "_", plain) or "_"
        numbers = itertools.chain([""], (f"-{i}" for i in itertools.count(2)))
        folder = next(f"{plain}{n}" for n in numbers if f"{plain}{n}".casefold() not in taken)
        taken.add(folder.casefold())
        found[name] = folder
    return found


def _file_name(file: str) -> str:
    if not is_url(file):
        return os.path.basename(file)
    name = PurePosixPath(unquote(urlsplit(file).path)).name
    return re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", name).lstrip(".")[-100:] or "image"


def _names(folder: Path, name: str) -> Iterator[Path]:
    """Yield the names that an image may have, the first of which is its own."""
    yield folder / name
    stem, suffix = os.path.splitext(name)
    for i in itertools.count(2):
        yield folder / f"{stem}-{i}{suffix}"
