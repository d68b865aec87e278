"""One look at every image of a data set: sizes, formats, and what is there more than once."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

from senet.data import ImageError, Source, Split
from senet.data.decode import Form, form_of
from senet.data.likeness import LEAST, SIDE, alike, small_copy
from senet.data.unequal import about_unequal

SPLITS = ("train", "val", "test")

Watch = Callable[[Iterable, int], Iterable]
"""Takes an iterable and its length, and returns it; a bar may advance meanwhile."""


@dataclass(frozen=True)
class Seen:
    """An image that was looked at.

    Attributes:
        name: its file, relative to the folder; or its split and number.
        split: ``"train"``, ``"val"`` or ``"test"``.
        index: its number in the split.
        label: the number of its class.
        width: width in pixels, upright.
        height: height in pixels.
        form: how its file is written; ``None`` if it is not a file.
    """

    name: str
    split: str
    index: int
    label: int
    width: int
    height: int
    form: Form | None


@dataclass(frozen=True)
class Alike:
    """Images that are the same, or two that are nearly alike.

    Attributes:
        images: the images, in the order of their splits.
        likeness: correlation of their details; ``None`` if their contents are the same.
    """

    images: tuple[Seen, ...]
    likeness: float | None = None

    @property
    def across(self) -> bool:
        """Whether they are in several splits, so that figures are too good."""
        return len({one.split for one in self.images}) > 1

    @property
    def contradicting(self) -> bool:
        """Whether they are in several classes."""
        return len({one.label for one in self.images}) > 1


@dataclass(frozen=True)
class Survey:
    """What was found in a data set.

    Attributes:
        source: the data set, in the splits that a training would have.
        images: all images that can be read.
        copies: groups of images with the same content.
        alike: pairs that are nearly alike; of a group of copies, the first one counts.
        left_out: files that are in no split, with the reasons.
    """

    source: Source
    images: tuple[Seen, ...]
    copies: tuple[Alike, ...] = ()
    alike: tuple[Alike, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def to_mend(self) -> bool:
        """Whether files are left out, or the same image is in two splits or in two classes.

        Pairs that are nearly alike do not count: whether they are the same is for people to say.
        """
        return bool(self.left_out) or any(c.across or c.contradicting for c in self.copies)

    @cached_property
    def counts(self) -> dict[str, np.ndarray]:
        """The number of images of every class, ``[K]``, by split."""
        k = len(self.source.classes)
        return {
            part: np.bincount([i.label for i in self.images if i.split == part], minlength=k)
            for part in SPLITS
        }

    @property
    def unequal(self) -> str:
        """What to say of classes of very unequal sizes; empty if they are not."""
        return about_unequal(self.counts["train"].tolist())

    @property
    def sizes(self) -> dict[str, list[int]]:
        """Width and height of the smallest, the median and the largest image, by area."""
        ordered = sorted(self.images, key=lambda one: one.width * one.height)
        at = {"smallest": 0, "median": len(ordered) // 2, "largest": -1}
        return {word: [ordered[i].width, ordered[i].height] for word, i in at.items()}

    @property
    def formats(self) -> dict[str, int]:
        """How many files there are of each format, the most frequent first."""
        return dict(Counter(i.form.format for i in self.images if i.form).most_common())

    @property
    def of_several_frames(self) -> list[Seen]:
        """Files with several pages or frames, of which the first is used."""
        return [one for one in self.images if one.form and one.form.frames > 1]

    @property
    def transparent(self) -> list[Seen]:
        """Files with transparency, which is laid on white."""
        return [one for one in self.images if one.form and one.form.transparent]

    def to_dict(self) -> dict[str, Any]:
        """Return everything in types that JSON has."""
        classes = self.source.classes

        def named(one: Seen) -> dict[str, str]:
            return {"image": one.name, "split": one.split, "class": classes[one.label]}

        return {
            "name": self.source.name,
            "path": self.source.path,
            "images": len(self.images),
            "classes": {
                name: {part: int(own[k]) for part, own in self.counts.items()}
                for k, name in enumerate(classes)
            },
            "unequal_classes": self.unequal,
            "sizes": self.sizes,
            "formats": self.formats,
            "several_frames": [one.name for one in self.of_several_frames],
            "transparent": [one.name for one in self.transparent],
            "left_out": self.left_out,
            "copies": [[named(one) for one in group.images] for group in self.copies],
            "alike": [
                {"images": [named(one) for one in pair.images], "likeness": round(likeness, 4)}
                for pair in self.alike
                if (likeness := pair.likeness) is not None
            ],
            "to_mend": self.to_mend,
        }


def survey(source: Source, watch: Watch = lambda images, total: images) -> Survey:
    """Look at every image of a data set once.

    Contents are the same if the files are, byte by byte (or the pixels, where images are not
    files). :mod:`senet.data.likeness` says what is nearly alike.

    Args:
        source: the data set.
        watch: wraps the images while they are read.

    Example:
        >>> from senet.data import open_source
        >>> found = survey(open_source("fashion-mnist", limit=20))
        >>> len(found.images), found.to_mend
        (60, False)
    """
    splits = {part: split for part in SPLITS if (split := getattr(source, part))}
    todo = [(part, split, i) for part, split in splits.items() for i in range(len(split))]
    images, copies, contents = [], [], []
    left_out = dict(source.left_out)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders let go of the interpreter
        for found in watch(_read(pool, todo), len(todo)):
            if isinstance(found, ImageError):  # it could be read a minute ago
                left_out[str(found)] = found.reason
                continue
            seen, copy, content = found
            images.append(seen)
            copies.append(copy)
            contents.append(content)
    groups = _same(contents, copies)
    firsts = np.array([i for i in range(len(images)) if groups.get(i, [i])[0] == i], dtype=int)
    small = np.stack(copies)[firsts] if len(firsts) else np.empty((0, SIDE, SIDE), np.uint8)
    pairs = [
        Alike((images[firsts[i]], images[firsts[j]]), likeness)
        for i, j, likeness in alike(small, LEAST)
    ]
    same = [Alike(tuple(images[i] for i in group)) for group in _distinct(groups)]
    return Survey(
        source, tuple(images), tuple(sorted(same, key=_worst)), tuple(sorted(pairs, key=_worst)),
        left_out,
    )  # fmt: skip


def _read(pool: ThreadPoolExecutor, todo: list[tuple[str, Split, int]]) -> Iterator:
    try:
        yield from pool.map(lambda one: _look(*one), todo)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _look(
    part: str, split: Split, index: int
) -> tuple[Seen, np.ndarray, tuple[str, int]] | ImageError:
    """Return an image, its small copy, and what tells its content; or its name and the reason."""
    name = split.keys()[index] if split.paths else f"{part}/{index}"
    try:
        picture = split.picture(index)
        pixels = picture.pixels(2 * SIDE, 2 * SIDE)
        file = split.paths[index] if split.paths else None
        form = form_of(file) if file else None
    except ImageError as error:
        return ImageError(name, error.reason)
    label = int(split.labels[index])
    digest = split.digests[index] if split.digests else ""
    digest = digest or blake2b(pixels.numpy().tobytes(), digest_size=16).hexdigest()
    size = os.path.getsize(file) if file else pixels.numel()
    seen = Seen(name, part, index, label, picture.width, picture.height, form)
    return seen, small_copy(pixels), (digest, size)


def _same(contents: list[tuple[str, int]], copies: list[np.ndarray]) -> dict[int, list[int]]:
    """Return the group of each image whose content is there more than once."""
    by_content: dict[tuple, list[int]] = defaultdict(list)
    for i, content in enumerate(contents):  # digests are short; the copy makes sure
        by_content[(*content, copies[i].tobytes())].append(i)
    return {i: group for group in by_content.values() if len(group) > 1 for i in group}


def _distinct(groups: dict[int, list[int]]) -> list[list[int]]:
    return [group for i, group in groups.items() if group[0] == i]


def _worst(one: Alike) -> tuple:
    """Return a sort key: what spoils figures first, then what is most alike."""
    return (not one.contradicting, not one.across, -(one.likeness or 1), one.images[0].name)
