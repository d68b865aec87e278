"""A folder of photos, one folder a class: ``photos/cat/1.jpg``, or ``photos/train/cat/1.jpg``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from senet.data.check import unreadable
from senet.data.decode import Picture, open_picture
from senet.data.partition import PARTS, Parts, divide, limited
from senet.data.source import Source, Split
from senet.models.preprocessing import IMAGENET, Preprocessing

NAMES = ("train", "val", "test")
LITTER = ("thumbs.db", "desktop.ini", "__macosx")  # besides hidden files, of file managers
SHOWN = 10  # how many bad files a warning lists


class FolderSplit(Split):
    """Image files below a folder, decoded when they are asked for."""

    def __init__(
        self, root: Path, files: Sequence[str], labels: Sequence[int] | np.ndarray, channels: int
    ) -> None:
        self.root, self.files, self.channels = root, list(files), channels
        self.labels = np.asarray(labels, dtype=np.int64)
        self.paths = [str(root / file) for file in self.files]

    def picture(self, index: int) -> Picture:
        return open_picture(self.root / self.files[index], self.channels)

    def subset(self, indices: np.ndarray) -> Self:
        files = [self.files[i] for i in indices.tolist()]
        return type(self)(self.root, files, self.labels[indices], self.channels)

    def keys(self) -> list[str]:
        return self.files

    def without(self, bad: dict[str, str]) -> Self:
        """Only the files that are not ``bad``; the others are ``skipped``."""
        good = [i for i, file in enumerate(self.files) if file not in bad]
        split = self.subset(np.array(good, dtype=np.int64))
        split.skipped = {str(self.root / file): bad[file] for file in self.files if file in bad}
        return split


def open_folder(
    path: str | Path,
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
    *,
    limit: int | None = None,
    preprocessing: Preprocessing = IMAGENET,
    record: dict[str, Any] | None = None,
) -> Source:
    """The images below ``path``: in class folders, or in train, val and test folders of those.

    Without such folders, every class gives a share of its images to validation and to test, chosen
    by a hash of the file's name. With them, what is missing is held out of train; a single one
    beside train counts as test (see :func:`~senet.data.partition.divide`). Files may lie at any
    depth within a class folder; files outside of class folders are not looked at. Those that are
    no images, or damaged, are left out with a warning that names them, and are listed in
    ``skipped`` of their split. All files are checked once (see :mod:`senet.data.check`).

    Args:
        path: the folder.
        val_share: share of the images to hold out for validation where there is no such folder.
        test_share: likewise for test.
        seed: another seed holds other images out.
        limit: take only so many images for each split, the first of every class.
        preprocessing: what the network wants, where that is known already; its channels decide
            whether images are decoded to grey or to RGB.
        record: the ``record`` of an earlier :class:`Source` of this folder: the same images go into
            the same splits, images that have come since are left out, and neither the shares nor
            the limit count.

    Raises:
        ValueError: if there is no such folder, no class folder, only one class, a class without a
            readable image, or if the splits differ in their classes. The message names them.
    """
    root = Path(path).expanduser()
    _require_folder(root)
    channels = preprocessing.channels
    if record is None:
        parts = _parts(root)
        classes = _classes(parts)
        whole = {part: _scan(root, folder, classes, channels) for part, folder in parts.items()}
        splits = limited(
            divide(
                whole["train"], whole.get("val"), whole.get("test"), val_share, test_share, seed
            ),
            limit,
        )
    else:
        classes = tuple(record["classes"])
        train, val, test = (_recorded(root, record[part], classes, channels) for part in NAMES)
        splits = (train, val, test)
    train, val, test = _readable(root, classes, splits)
    return Source(
        name=root.resolve().name,
        classes=classes,
        train=train,
        val=val,
        test=test,
        preprocessing=preprocessing,
        record={"classes": list(classes)}
        | {
            part: _record(split, classes)
            for part, split in zip(NAMES, (train, val, test), strict=True)
        },
    )


def _record(split: FolderSplit | None, classes: tuple[str, ...]) -> dict[str, list[str]]:
    """The files of every class."""
    files: dict[str, list[str]] = {name: [] for name in classes}
    if split:
        for file, label in zip(split.files, split.labels, strict=True):
            files[classes[label]].append(file)
    return files


def _recorded(
    root: Path, files: dict[str, list[str]], classes: tuple[str, ...], channels: int
) -> FolderSplit:
    """The split of a record. A file that has gone since will turn out not to be readable."""
    pairs = sorted((file, classes.index(name)) for name in files for file in files[name])
    return FolderSplit(root, [file for file, _ in pairs], [label for _, label in pairs], channels)


def _readable(
    root: Path, classes: tuple[str, ...], splits: Parts[FolderSplit]
) -> Parts[FolderSplit]:
    """The splits without the files that do not decode, which are named."""
    files = [file for split in splits if split for file in split.files]
    bad = unreadable(root, files)
    if bad:
        lines = [f"  {file}: {reason}" for file, reason in list(bad.items())[:SHOWN]]
        if len(bad) > SHOWN:
            lines.append(f"  ... and {len(bad) - SHOWN:,} more")
        listing = "\n".join(lines)
        warnings.warn(
            f"{len(bad):,} of {len(files):,} files in {root} are left out,"
            f" since they cannot be read:\n{listing}",
            stacklevel=3,
        )
    train, val, test = (split and split.without(bad) for split in splits)
    assert train is not None
    assert test is not None
    left = set(train.labels.tolist())
    if gone := [name for label, name in enumerate(classes) if label not in left]:
        raise ValueError(f"{root}: no readable image is left to train on in {_list(gone)}")
    if not len(test):
        raise ValueError(f"{root}: no readable image is left to test on")
    return train, val or None, test


# --- the layout of the folder ---------------------------------------------------------------------


def _require_folder(root: Path) -> None:
    if not root.exists():
        raise ValueError(f"there is no folder {str(root)!r}")
    if not root.is_dir():
        raise ValueError(
            f"{str(root)!r} is a file; give the folder that holds one folder of images a class"
        )


def _parts(root: Path) -> dict[str, Path]:
    """The folders of the splits, by part; or the root as train, where it holds the classes."""
    folders = _folders(root)
    parts = [(PARTS[f.name.lower()], f) for f in folders if f.name.lower() in PARTS]
    names = [part for part, _ in parts]
    if names.count("train") == 1 and len(set(names)) == len(folders):
        return dict(parts)
    if len(parts) > 1:
        raise ValueError(
            f"{root}: the folders {_list([f.name for f in folders])} are neither a split (train,"
            " val, test, and train must be there) nor one folder a class"
        )
    return {"train": root}


def _classes(parts: dict[str, Path]) -> tuple[str, ...]:
    """The names of the class folders, which every split must have all of."""
    names = {part: [folder.name for folder in _folders(path)] for part, path in parts.items()}
    train, classes = parts["train"], names["train"]
    if not classes:
        files = sum(_wanted(entry.name) for entry in train.iterdir())
        raise ValueError(
            f"{train} holds no class folder ({files:,} files lie directly in it); put the images of"
            f" every class into a folder of that name, such as {train / 'cat'}"
        )
    if len(classes) == 1:
        raise ValueError(
            f"{train} holds a single class, {classes[0]!r}; telling classes apart takes two"
        )
    for part, path in parts.items():
        missing = sorted(set(classes) - set(names[part]))
        extra = sorted(set(names[part]) - set(classes))
        if missing or extra:
            problems = [f"{_list(missing)} missing"] * bool(missing)
            problems += [f"{_list(extra)} not among the classes of {train}"] * bool(extra)
            raise ValueError(f"{path} has other classes than {train}: {'; '.join(problems)}")
    return tuple(classes)


def _scan(root: Path, folder: Path, classes: tuple[str, ...], channels: int) -> FolderSplit:
    """All files in the class folders of one split."""
    files: list[str] = []
    labels: list[int] = []
    empty = []
    for label, name in enumerate(classes):
        members = sorted(file.relative_to(root).as_posix() for file in _walk(folder / name))
        files += members
        labels += [label] * len(members)
        empty += [name] * (not members)
    if empty:
        raise ValueError(f"{folder}: no image in the class folders {_list(empty)}")
    return FolderSplit(root, files, labels, channels)


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and _wanted(entry.name))


def _walk(top: Path) -> list[Path]:
    """The files below a folder, links followed, no folder entered twice."""

    def refuse(error: OSError) -> None:
        raise ValueError(f"the folder {error.filename} cannot be read: {error.strerror}")

    found, seen = [], set()
    for path, folders, files in os.walk(top, onerror=refuse, followlinks=True):
        seen.add(os.path.realpath(path))
        folders[:] = [
            name
            for name in folders
            if _wanted(name) and os.path.realpath(os.path.join(path, name)) not in seen
        ]
        found += [Path(path, name) for name in files if _wanted(name)]
    return found


def _wanted(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in LITTER


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
