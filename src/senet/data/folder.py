"""A folder of photos, one folder per class: ``photos/cat/1.jpg``, or ``photos/train/cat/1.jpg``.

This is one file because it is about one table, of files with their classes and splits: how it is
made, what is reported about it, and how a run finds the same one again. Walking, layout, checks and
decoding have files of their own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from senet.cache import name_of
from senet.counted import counted
from senet.data.check import DIGEST, Verdict, examine
from senet.data.decode import Picture, open_picture
from senet.data.layout import (
    SHOWN,
    Classes,
    Layout,
    find_layout,
    listed,
    number_of,
    require_classes,
)
from senet.data.partition import divide, limited
from senet.data.place import images_folder
from senet.data.shrunk import shrunk
from senet.data.source import Extent, Source, Split
from senet.data.walk import Walk, walk
from senet.paths import ARCHIVES, expanded, is_images, no_images, table_of
from senet.preprocessing import IMAGENET, Preprocessing

NAMES = ("train", "val", "test")


class UnknownClassError(ValueError):
    """The error for images with a class that a network does not know."""


class FolderSplit(Split):
    """Image files below a folder, decoded when they are asked for.

    Attributes:
        shrink: length of the shorter side of copies to read instead; see :mod:`senet.data.shrunk`.
    """

    shrink: int | None = None

    def __init__(
        self, root: Path, files: Sequence[str], labels: Sequence[int] | np.ndarray, channels: int
    ) -> None:
        self.root, self.files, self.channels = root, list(files), channels
        self.labels = np.asarray(labels, dtype=np.int64)
        self.paths = [str(root / file) for file in self.files]
        self.digests = ["" for _ in self.files]

    def picture(self, index: int) -> Picture:
        if self.shrink and self.digests[index]:
            file = self.root / self.files[index]
            return shrunk(file, self.channels, self.shrink, self.digests[index])
        return open_picture(self.root / self.files[index], self.channels)

    def subset(self, indices: np.ndarray) -> Self:
        files = [self.files[i] for i in indices.tolist()]
        split = type(self)(self.root, files, self.labels[indices], self.channels)
        split.digests = [self.digests[i] for i in indices.tolist()]
        split.shrink = self.shrink
        return split

    def keys(self) -> list[str]:
        return self.files

    def judged(self, verdicts: Mapping[str, Verdict]) -> Self:
        """Return only the usable files, with their digests; the others are ``skipped``."""
        good = [i for i, file in enumerate(self.files) if not verdicts[file].reason]
        split = self.subset(np.array(good, dtype=np.int64))
        split.digests = [verdicts[file].digest for file in split.files]
        reasons = ((file, verdicts[file].reason) for file in self.files)
        split.skipped = {name_of(self.root / file): reason for file, reason in reasons if reason}
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
    shrink: int | None = None,
) -> Source:
    """Return the images below ``path``: class folders, or train, val and test folders of those.

    Without such folders, every class gives a share of its images to validation and to test, chosen
    by a hash of the file's name. With them, a split that is missing, or that has no class folders
    and therefore no labels, is held out of train; a single one beside train counts as test (see
    :func:`~senet.data.partition.divide`). Files may be at any depth within a class folder; files
    outside class folders are ignored. :mod:`senet.data.walk` says which files are images.

    A warning names what is left out: a class without images; a class that validation or test lack;
    files that are not images or are damaged, which ``skipped`` of their split lists too. All files
    are checked once (see :mod:`senet.data.check`).

    Args:
        path: the folder.
        val_share: share of the images to hold out for validation where there is no such folder.
        test_share: likewise for test.
        seed: another seed holds other images out.
        limit: maximum number of images in each split; the first of every class are used.
        preprocessing: what the network expects, if that is known already; its channels decide
            whether images are decoded to grey or to RGB.
        record: the ``record`` of an earlier :class:`Source` of this folder: the same images go into
            the same splits, images that were added since are left out, and neither the shares nor
            the limit apply.
        shrink: length of the shorter side of copies that are kept in the cache and read instead of
            the images, for slow disks; see :mod:`senet.data.shrunk`.

    Raises:
        ValueError: if there is no such folder, no class folder, only one class with images, or if
            validation or test have a class that train lacks. The message names them.
    """
    place = expanded(path)
    _require_there(place)
    root = images_folder(place)
    skipped: dict[str, str] = {}
    if record is None:
        classes, splits, verdicts, skipped = _divided(
            place, root, val_share, test_share, seed, limit, preprocessing.channels
        )
    else:
        classes = tuple(record["classes"])
        parts = [recorded(root, record, part, preprocessing.channels) for part in NAMES]
        verdicts = examine(root, [file for split in parts for file in split.files])
        _say_bad(root, verdicts, {})
        splits = tuple(split.judged(verdicts) for split in parts)
    train, val, test = splits
    _require_images(root, classes, train, test)
    used = [split for split in (train, val, test) if split]
    for split in used:
        split.shrink = shrink
    return Source(
        name=_name(place),
        classes=classes,
        train=train,
        val=val or None,
        test=test,
        preprocessing=preprocessing,
        record=_record(classes, dict(zip(NAMES, (train, val, test), strict=True))),
        path=str(place.resolve()),
        extent=_extent(verdicts[file] for split in used for file in split.files),
        left_out=_left_out(verdicts, skipped),
    )


def recorded(root: Path, record: Mapping[str, Any], part: str, channels: int) -> FolderSplit:
    """Return a split of a record; a file that is gone since turns out to be unreadable later."""
    number = {name: label for label, name in enumerate(record["classes"])}
    pairs = sorted((file, number[name]) for name, files in record[part].items() for file in files)
    return FolderSplit(root, [file for file, _ in pairs], [label for _, label in pairs], channels)


def open_recorded(
    place: Path, record: Mapping[str, Any], part: str, channels: int = 3
) -> FolderSplit:
    """Return a split of a record without the images lost or damaged since, which are named."""
    root = images_folder(place)
    split = recorded(root, record, part, channels)
    verdicts = examine(root, split.files)
    _say_bad(root, verdicts, {})
    return split.judged(verdicts)


def open_new(place: Path, record: Mapping[str, Any], channels: int = 3) -> FolderSplit:
    """Return the images that were added to class folders or a table since a record was made."""
    root = images_folder(place)
    old = {file for part in NAMES for files in record[part].values() for file in files}
    number = number_of(record["classes"])
    files: dict[str, int] = {}
    for own in find_layout(place).parts.values():
        scan = _scan(root, own, channels)
        pairs = zip(scan.split.files, scan.names, strict=True)
        files |= {file: number[name] for file, name in pairs if name in number and file not in old}
    split = FolderSplit(root, list(files), list(files.values()), channels)
    return split.judged(examine(root, split.files))


def open_labelled(
    path: str | Path, classes: Sequence[str], split: str | None = None, *, channels: int = 3
) -> tuple[FolderSplit, str]:
    """Return the images of a folder to test a network on; class folders name the network's classes.

    Args:
        path: a folder of class folders, of which all images are used; or of train, val and test
            folders of those.
        classes: the classes of the network. The folder may have some of them, in any order.
        split: the split, if there are folders of splits; by default ``"test"``. As in training, a
            folder of validation images beside train counts as test if there is no test folder.
        channels: number of channels to decode to, 3 or 1.

    Returns:
        The images, and the name of their split: ``"all"`` if there are no splits.

    Raises:
        UnknownClassError: if there is a class that the network does not have.
        ValueError: if there is no such folder or split, or no class folder in it. The message names
            them.
    """
    place = expanded(path)
    _require_there(place)
    root = images_folder(place)
    part, found = _part_to_score(find_layout(place), split)
    require_classes(found)
    scan = _scan(root, found, channels)
    number = number_of(classes)
    if strange := [name for name in scan.classes if name not in number]:
        raise UnknownClassError(
            f"the network knows {counted(len(classes), 'class', 'classes')} ({listed(classes)}), "
            f"but {_name(place)} has others: {listed(strange)}. Rename "
            f"{'them' if table_of(place) else 'their folders'}, or leave them out"
        )
    if not scan.split.files:
        raise ValueError(f"{found.name}: no image in its class folders {listed(found.by_name)}")
    verdicts = examine(root, scan.split.files)
    _say_bad(root, verdicts, scan.skipped)
    if absent := [name for name in number if name not in scan.classes]:
        warnings.warn(
            f"{found.name} has no image of {len(absent):,} of the {len(classes):,} classes:"
            f" {listed(absent)}",
            stacklevel=2,
        )
    scan.split.labels = np.array([number[name] for name in scan.names], dtype=np.int64)
    return scan.split.judged(verdicts), part


def _part_to_score(layout: Layout, split: str | None) -> tuple[str, Classes]:
    parts = layout.parts
    if not layout.divided:
        if split is not None:
            raise ValueError(
                f"{layout.name} has no train, val and test folders, and so no split {split!r}: all"
                " its images are used if no split is named"
            )
        return "all", parts["train"]
    wanted = split or "test"
    if wanted == "test" and "test" not in parts and "val" in parts:
        wanted = "val"
    if wanted not in parts:
        raise ValueError(
            f"{layout.name} has no folder of the split {wanted!r}, but {listed(parts)}: name one"
        )
    if count := parts[wanted].unlabelled:
        raise ValueError(
            f"{parts[wanted].name} holds {counted(count, 'image')} and no class folders: without "
            "labels nothing can be scored. `senet predict` says what is on them"
        )
    return wanted, parts[wanted]


# --- which images there are -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Scan:
    """The contents of the class folders of one split: images, and the class of each by name."""

    split: FolderSplit
    names: list[str]
    skipped: dict[str, str]

    @property
    def classes(self) -> list[str]:
        return sorted(set(self.names))


def _scan(root: Path, classes: Classes, channels: int) -> _Scan:
    found: list[tuple[str, str]] = []
    skipped: dict[str, str] = {}
    for name, places in classes.by_name.items():
        for place in places:
            below = walk(place) if place.is_dir() else Walk([str(place)])
            found += [(name, _relative(file, root)) for file in below.files]
            skipped |= {_relative(file, root): why for file, why in below.skipped.items()}
    found.sort()
    split = FolderSplit(root, [file for _, file in found], np.zeros(len(found)), channels)
    return _Scan(split, [name for name, _ in found], skipped)


def _relative(file: str, root: Path) -> str:
    """Return a file relative to the folder, if it is in it."""
    path = Path(file)
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _divided(
    place: Path,
    root: Path,
    val_share: float,
    test_share: float,
    seed: int,
    limit: int | None,
    channels: int,
) -> tuple[
    tuple[str, ...],
    tuple[FolderSplit, FolderSplit | None, FolderSplit],
    dict[str, Verdict],
    dict[str, str],
]:
    """Return classes, the three splits, the verdict on every image, and other files."""
    layout = find_layout(place)
    if "train" not in layout.parts:
        if table_of(place):
            raise ValueError(
                f"{layout.root} has no row of the split 'train', but {listed(layout.parts)}"
            )
        raise ValueError(
            f"{layout.name}: the folders {listed(p.folder.name for p in layout.parts.values())} are"
            " neither a split (train, val, test, and train must be there) nor one folder per class"
        )
    require_classes(layout.parts["train"])
    scans = {part: _scan(root, own, channels) for part, own in _labelled(layout).items()}
    # With a limit, it is enough to check the images that it leaves.
    every = [file for scan in scans.values() for file in scan.split.files]
    verdicts = examine(root, every) if limit is None else {}
    classes = _trainable(layout.parts["train"], scans["train"], verdicts)
    _compare_classes(layout.name, classes, scans)
    whole = {part: _numbered(scan, classes) for part, scan in scans.items()}
    skipped = {file: why for scan in scans.values() for file, why in scan.skipped.items()}
    # Bad files are held out like others, and dropped afterwards: they do not move the split.
    train, val, test = limited(
        divide(whole["train"], whole.get("val"), whole.get("test"), val_share, test_share, seed),
        limit,
    )
    if limit is not None:
        verdicts = examine(root, [file for s in (train, val, test) if s for file in s.files])
    _say_bad(root, verdicts, skipped)
    return (
        classes,
        (train.judged(verdicts), val and val.judged(verdicts), test.judged(verdicts)),
        verdicts,
        skipped,
    )


def _labelled(layout: Layout) -> dict[str, Classes]:
    """Return the splits except those without class folders, which are named."""
    for own in layout.parts.values():
        if count := own.unlabelled:
            # The command needs a folder that is there, also where an archive has been extracted.
            warnings.warn(
                f"{own.name} holds {counted(count, 'image')} and no class folders: without "
                "labels nothing can be scored, so they are left out, and images of train are held "
                f"out in their place. When the network is trained, `senet predict RUN "
                f"{own.folder}` says what is on them",
                stacklevel=4,
            )
    return {part: own for part, own in layout.parts.items() if own.by_name}


def _trainable(train: Classes, scan: _Scan, verdicts: Mapping[str, Verdict]) -> tuple[str, ...]:
    """Return the classes of train that have an image; the others are named."""
    pairs = zip(scan.names, scan.split.files, strict=True)
    alive = {name for name, file in pairs if not verdicts.get(file, Verdict()).reason}
    classes = tuple(name for name in train.by_name if name in alive)
    empty = [name for name in train.by_name if name not in alive]
    if len(classes) < 2:
        what = f"a single class, {classes[0]!r}" if classes else "no image that can be read"
        rest = f" ({listed(empty)}: no image that can be read)" if classes and empty else ""
        raise ValueError(
            f"{train.name} holds {what}{rest}; telling classes apart needs two with images"
        )
    if empty:
        warnings.warn(
            f"{train.name}: no image that can be read is in {listed(empty)}, so the network will"
            " not know " + ("this class" if len(empty) == 1 else "these classes"),
            stacklevel=4,
        )
    return classes


def _compare_classes(name: str, classes: tuple[str, ...], scans: Mapping[str, _Scan]) -> None:
    """Say which classes a split lacks; refuse classes that train lacks."""
    for part, scan in scans.items():
        own = scan.classes
        missing = [name for name in classes if name not in own]
        if extra := [name for name in own if name not in classes and part != "train"]:
            problems = [f"{listed(missing)} missing"] * bool(missing)
            problems += [f"{listed(extra)} not among the classes of train"]
            raise ValueError(
                f"{name}: {part} has other classes than train: {'; '.join(problems)}. Rename their"
                " folders, or remove them"
            )
        if missing:
            warnings.warn(
                f"{name}: {part} has no image of {listed(missing)}; the figures of {part} say"
                " nothing about " + ("this class" if len(missing) == 1 else "these classes"),
                stacklevel=4,
            )


def _numbered(scan: _Scan, classes: tuple[str, ...]) -> FolderSplit:
    """Return the images of these classes, with their numbers as labels."""
    number = {name: label for label, name in enumerate(classes)}
    keep = [i for i, name in enumerate(scan.names) if name in number]
    split = scan.split.subset(np.array(keep, dtype=np.int64))
    split.labels = np.array([number[scan.names[i]] for i in keep], dtype=np.int64)
    return split


# --- what is reported and kept about them ---------------------------------------------------------


def _say_bad(root: Path, verdicts: Mapping[str, Verdict], skipped: Mapping[str, str]) -> None:
    """Name the files that are left out."""
    bad = _left_out(verdicts, skipped)
    if not bad:
        return
    lines = [f"  {file}: {reason}" for file, reason in list(bad.items())[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"  ... and {len(bad) - SHOWN:,} more")
    listing = "\n".join(lines)
    warnings.warn(
        f"{len(bad):,} of {counted(len(verdicts) + len(skipped), 'file')} in {name_of(root)} "
        f"{'is left out, since it' if len(bad) == 1 else 'are left out, since they'} cannot be "
        f"read:\n{listing}",
        stacklevel=4,
    )


def _left_out(verdicts: Mapping[str, Verdict], skipped: Mapping[str, str]) -> dict[str, str]:
    bad = {file: verdict.reason for file, verdict in verdicts.items() if verdict.reason}
    return dict(sorted({**bad, **skipped}.items()))


def _record(classes: tuple[str, ...], splits: Mapping[str, FolderSplit | None]) -> dict[str, Any]:
    """Return the files of every class in each split, and the digests of their contents in a row."""
    files = {part: {name: [] for name in classes} for part in NAMES}
    digests = {part: dict.fromkeys(classes, "") for part in NAMES}
    for part, split in splits.items():
        if split:
            for file, label, digest in zip(split.files, split.labels, split.digests, strict=True):
                files[part][classes[label]].append(file)
                digests[part][classes[label]] += digest
    return {"classes": list(classes), **files, "digests": digests}


def digests_of(record: Mapping[str, Any], part: str) -> dict[str, str]:
    """Return the digest of each file of a split in a record; old records have none."""
    found = {}
    for name, files in record[part].items():
        row = record.get("digests", {}).get(part, {}).get(name, "")
        step = 2 * DIGEST
        if len(row) == step * len(files):
            found |= {file: row[i * step : (i + 1) * step] for i, file in enumerate(files)}
    return found


def _extent(verdicts: Iterable[Verdict]) -> Extent | None:
    """Return width and height of the smallest and of the largest image."""
    sides = sorted({(v.width * v.height, v.width, v.height) for v in verdicts if not v.reason})
    return (sides[0][1:], sides[-1][1:]) if sides else None


def _require_images(
    root: Path, classes: tuple[str, ...], train: FolderSplit, test: FolderSplit
) -> None:
    left, name = set(train.labels.tolist()), name_of(root)
    if gone := [one for label, one in enumerate(classes) if label not in left]:
        raise ValueError(f"{name}: no readable image is left to train on in {listed(gone)}")
    if not len(test):
        raise ValueError(f"{name}: no readable image is left to test on")


def _name(place: Path) -> str:
    table = table_of(place)
    return (table[0] if table else place).resolve().name


def _require_there(place: Path) -> None:
    if is_images(place) or place.is_dir():
        return
    if table_of(place) or not place.exists():
        raise ValueError(no_images(str(place)))
    raise ValueError(
        f"{str(place)!r} is a file; give the folder that holds one folder of images per class, or a"
        f" table of images (.csv), or an archive ({', '.join(ARCHIVES)})"
    )
