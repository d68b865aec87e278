"""Sources of images by the names that users write after ``--data``."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from senet.data.folder import open_folder
from senet.data.hub import open_hub
from senet.data.mosaic import open_mosaic
from senet.data.source import Source
from senet.paths import expanded, is_archive, is_mosaic, is_place, no_folder, no_images, table_of
from senet.preprocessing import IMAGENET, Preprocessing

BUNDLED = "fashion-mnist"
BUNDLED_FOLDER = Path(__file__).parent / "fashion_mnist"

# Short names of data sets of the hub.
HUB = {"cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")

FORMS = (
    f"What can be given: {BUNDLED!r} (bundled), {', '.join(map(repr, HUB))}, the name of an image"
    " data set of the Hugging Face hub such as 'food101' or 'owner/name', or a folder: with one"
    " folder of images per class, with train, val and test folders of those, or with mosaics and"
    " labels.npz; a zip or tar file of such folders; or a table with the columns file and label"
)


def open_source(
    name: str | Path = BUNDLED,
    *,
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
    limit: int | None = None,
    preprocessing: Preprocessing | None = None,
    record: dict[str, Any] | None = None,
    shrink: int | None = None,
) -> Source:
    """Return labelled images by their name or place.

    Args:
        name: ``"fashion-mnist"`` (bundled with the package: 10,000 images to train and 2,000 to
            test), ``"cifar10"``, ``"cifar100"``, any image data set of the Hugging Face hub, or a
            folder of images or of mosaics; a zip or tar file of folders; or a table,
            ``"labels.csv"`` or ``"labels.csv:file=COLUMN,label=COLUMN"``. A bundled or short name
            takes precedence over a folder of the same name; write ``./cifar10`` for the folder.
        val_share: share of the training images to hold out for validation, if the source has no
            validation images of its own; every class gives its share.
        test_share: likewise for test.
        seed: another seed holds other images out.
        limit: maximum number of images in each split, equally many of each class.
        preprocessing: what the network expects, if that is known already (a checkpoint's): images
            are then decoded to its number of channels. Otherwise the source suggests one.
        record: for a folder, the ``record`` of the source of an earlier run, for the same splits.
        shrink: for photos in files, the length of the shorter side of copies that are kept in the
            cache and read instead; see :mod:`senet.data.shrunk`.

    Raises:
        ValueError: if the name is unknown, or what it names cannot be used. The message says why.

    Example:
        >>> source = open_source("fashion-mnist")
        >>> source.classes[:3], len(source.train), len(source.test)
        (('T-shirt/top', 'Trouser', 'Pullover'), 9000, 2000)
    """
    name = str(name)
    if not name:
        raise ValueError(f"no data set was named. {FORMS}")
    settings: dict[str, Any] = {"seed": seed, "limit": limit, "preprocessing": preprocessing}
    if name == BUNDLED:
        return open_mosaic(BUNDLED_FOLDER, val_share, name=BUNDLED, **settings)
    if name in HUB:
        return open_hub(HUB[name], val_share, test_share, **settings)
    path = expanded(name)
    if path.is_dir() and is_mosaic(path):
        return open_mosaic(path, val_share, **settings)
    if path.exists() or table_of(path):
        settings["preprocessing"] = preprocessing or IMAGENET
        return open_folder(path, val_share, test_share, **settings, record=record, shrink=shrink)
    _require_plausible(name)
    try:
        return open_hub(name, val_share, test_share, **settings)
    except ValueError as error:
        raise ValueError(f"there is no folder {name!r} here, and {error}. {FORMS}") from error


def _require_plausible(name: str) -> None:
    """Refuse names that the hub cannot have, and misspelt ones of ours, before going online."""
    if is_place(name) or is_archive(name):
        raise ValueError(no_images(name))
    if close := get_close_matches(name.lower(), [BUNDLED, *HUB], 1, cutoff=0.75):
        raise ValueError(f"there is no data set {name!r}; did you mean {close[0]!r}? {FORMS}")
    beside = [entry.name for entry in Path.cwd().iterdir() if entry.is_dir()]
    if "/" not in name and get_close_matches(name, beside, 1, cutoff=0.75):
        raise ValueError(f"{no_folder(name)} {FORMS}")
    if not HUB_NAME.fullmatch(name):
        folder = no_folder(name)
        end = "" if folder.endswith("?") else "."
        raise ValueError(f"no data set has the name {name!r}, and {folder}{end} {FORMS}")
