"""Small images in mosaics: a whole data set in a few lossless image files and a list of labels.

A mosaic is an image of tiles, 100 to a row, in reading order. A data set is a folder of them:
``train*`` (or ``data_batch*``) and ``test*``, in the order of their names, and ``labels.npz`` with
the arrays ``train`` and ``test`` (the class number of every tile) and ``classes`` (their names).
Lossless WebP makes this the smallest form that every image viewer opens.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from senet.data.arrays import ArraySplit, suited
from senet.data.decode import decode
from senet.data.partition import divide, limited
from senet.data.source import Source
from senet.paths import LABELS
from senet.preprocessing import Preprocessing

COLUMNS = 100
PARTS = {"train": ("train", "data_batch"), "test": ("test",)}


def open_mosaic(
    path: str | Path,
    val_share: float = 0.1,
    seed: int = 0,
    *,
    name: str = "",
    limit: int | None = None,
    preprocessing: Preprocessing | None = None,
) -> Source:
    """Return the data set in a folder of mosaics; see :mod:`senet.data.mosaic` for the form.

    Mean and standard deviation are measured over all training images, so that they depend neither
    on the seed nor on the limit. Mosaics whose three colours are equal everywhere are grey.

    Args:
        path: the folder.
        val_share: share of the training images to hold out for validation.
        seed: another seed holds other images out.
        name: name of the data set, by default that of the folder.
        limit: maximum number of images in each split; the first of every class are used.
        preprocessing: what the network expects, if that is known already.

    Raises:
        ValueError: if the labels cannot be read or do not fit the mosaics.
    """
    root = Path(path)
    labels, classes = _labels(root)
    channels = preprocessing.channels if preprocessing else 3
    found = {
        part: ArraySplit(_tiles(root, part, len(labels[part]), channels), labels[part])
        for part in PARTS
    }
    if preprocessing is None:
        found, preprocessing = suited(found)
    splits = divide(found["train"], None, found["test"], val_share, seed=seed)
    train, val, test = limited(splits, limit)
    return Source(name or root.resolve().name, classes, train, val, test, preprocessing)


def _labels(root: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    file = root / LABELS
    try:
        with np.load(file, allow_pickle=False) as stored:
            labels = {part: stored[part].astype(np.int64) for part in PARTS}
            classes = tuple(str(name) for name in stored["classes"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{file} must hold the arrays 'train', 'test' and 'classes': {error}"
        ) from error
    for part, array in labels.items():
        if array.ndim != 1 or not len(array) or array.min() < 0 or array.max() >= len(classes):
            raise ValueError(f"{file}: {part!r} must list class numbers 0 to {len(classes) - 1}")
    return labels, classes


def _tiles(root: Path, part: str, count: int, channels: int) -> Tensor:
    """Return the first ``count`` tiles of a split, ``[count, channels, side, side]``."""
    files = sorted((f for f in root.iterdir() if f.name.startswith(PARTS[part])), key=_natural)
    if not files:
        raise ValueError(f"{root} holds no mosaic whose name starts with {PARTS[part][0]!r}")
    blocks = [_cut(decode(file, channels), file) for file in files]
    if len({block.shape[-1] for block in blocks}) > 1:
        raise ValueError(f"{root}: the mosaics of {part} have tiles of different sizes")
    tiles = torch.cat(blocks)
    if not count <= len(tiles) < count + COLUMNS:  # the last row need not be full
        raise ValueError(
            f"{root}: {count:,} labels but {len(tiles):,} tiles for {part}; is a file missing?"
        )
    return tiles[:count]


def _cut(mosaic: Tensor, file: Path) -> Tensor:
    C, H, W = mosaic.shape
    side = W // COLUMNS
    if W % COLUMNS or not side or H % side:
        raise ValueError(f"{file}: {W} by {H} pixels are not rows of {COLUMNS} square tiles")
    tiles = mosaic.reshape(C, H // side, side, COLUMNS, side)
    return tiles.permute(1, 3, 0, 2, 4).reshape(-1, C, side, side)


def _natural(file: Path) -> list[str | int]:
    """Return a sort key that orders names by their numbers: 2 before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]
