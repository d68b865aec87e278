"""The division of images into splits: held out by class, or the first of every class."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

import numpy as np

from senet.data.source import Split

AnySplit = TypeVar("AnySplit", bound=Split)
Parts = tuple[AnySplit, AnySplit | None, AnySplit]  # train, validation, test

# Names of published splits, in upper or lower case.
PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def divide(
    train: AnySplit,
    val: AnySplit | None,
    test: AnySplit | None,
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> Parts[AnySplit]:
    """Return train, validation and test; those that are not given are held out of train.

    One rule holds for every source: results are never reported on the images that choices were made
    by. So if a data set publishes only one set beside train, whatever its name, it is the test set,
    and validation is held out of train.

    Args:
        train: images to learn from, and to hold out from.
        val: validation images, if given.
        test: test images, if given.
        val_share: share of ``train`` to hold out for validation, if that is not given.
        test_share: likewise for test.
        seed: another seed holds other images out.

    Raises:
        ValueError: if a share is out of range, or no class has an image to spare for test.
    """
    if val_share < 0 or test_share <= 0 or val_share + test_share >= 1:
        raise ValueError(
            "val_share and test_share are shares of the training images that leave some over,"
            f" and there must be something to test on; got {val_share} and {test_share}"
        )
    if test is None:
        val, test = None, val
    shares = (0.0 if test else test_share, 0.0 if val else val_share)
    kept, *held = hold_out(train.keys(), train.labels, shares, seed)
    test = test or train.subset(held[0])
    if not len(test):
        raise ValueError(
            "nothing can be held out for testing: every class has a single image. A class needs at"
            " least two, and a meaningful test needs dozens"
        )
    if val is None and len(held[1]):
        val = train.subset(held[1])
    return train.subset(kept), val, test


def hold_out(
    keys: Sequence[str], labels: np.ndarray, shares: Sequence[float], seed: int
) -> list[np.ndarray]:
    """Return the indices of what stays, then of each share; every class gives the same share.

    Whether an image is held out depends on a hash of its key and the seed, not on the other images:
    when images are added to a folder, almost all of the old ones stay where they were. A class
    gives at least one image for every share, as long as one stays.

    Example:
        >>> labels = np.repeat([0, 1], 10)
        >>> [len(part) for part in hold_out([str(i) for i in range(20)], labels, (0.2, 0.1), 0)]
        [14, 4, 2]
    """
    parts: list[list[int]] = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(labels):
        members = sorted(
            np.flatnonzero(labels == label).tolist(),
            key=lambda i: blake2b(f"{seed}/{keys[i]}".encode(errors="surrogateescape")).digest(),
        )
        start = 0
        for part, share in zip(parts[1:], shares, strict=True):
            wanted = max(1, round(share * len(members))) if share else 0
            stop = min(start + wanted, len(members) - 1)
            part += members[start:stop]
            start = stop
        parts[0] += members[start:]
    return [np.array(sorted(part), dtype=np.int64) for part in parts]


def limited(splits: Parts[AnySplit], limit: int | None) -> Parts[AnySplit]:
    """Return splits of at most ``limit`` images each; see :func:`first_of_each`."""
    if limit is None:
        return splits

    def part(split: AnySplit) -> AnySplit:
        return split.subset(first_of_each(split.labels, limit))

    train, val, test = splits
    return part(train), val and part(val), part(test)


def first_of_each(labels: np.ndarray, limit: int) -> np.ndarray:
    """Return the indices of at most ``limit`` images: the first of every class, equally many each.

    If ``limit`` is not a multiple of the number of classes, the first classes give one more.

    Raises:
        ValueError: if that would leave a class without an image.

    Example:
        >>> first_of_each(np.array([1, 0, 0, 1, 0, 1]), 4)
        array([0, 1, 2, 3])
    """
    classes = np.unique(labels)
    if limit < len(classes):
        raise ValueError(
            f"a limit of {limit} images leaves some of the {len(classes)} classes empty;"
            f" give at least {len(classes)}"
        )
    quotas = [limit // len(classes) + (i < limit % len(classes)) for i in range(len(classes))]
    chosen = [np.flatnonzero(labels == c)[:quota] for c, quota in zip(classes, quotas, strict=True)]
    return np.sort(np.concatenate(chosen))
