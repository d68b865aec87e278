"""Data sets of the Hugging Face hub, through the library ``datasets``: ``senet[hub]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from senet.data.arrays import ArraySplit, suited
from senet.data.decode import Picture, open_picture
from senet.data.partition import PARTS, divide, limited
from senet.data.source import Source, Split
from senet.preprocessing import IMAGENET, Preprocessing
from senet.reach import offline_if_unreachable

if TYPE_CHECKING:
    from datasets import Dataset

# The column that is meant where a data set has several. Other names count if they are the only one.
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "category")

# Images of one size are held in memory up to this side: 60,000 of 32 x 32 are 184 MB.
SMALL = 96


class HubSplit(Split):
    """Encoded images in a table of ``datasets``, decoded when they are asked for."""

    def __init__(self, table: Dataset, labels: np.ndarray, channels: int, name: str) -> None:
        self.table, self.labels, self.channels, self.name = table, labels, channels, name
        (self.column,) = table.column_names

    def picture(self, index: int) -> Picture:
        image = self.table[int(index)][self.column]
        file = image["bytes"] or image["path"]
        return open_picture(file, self.channels, name=f"image {index} of {self.name}")

    def subset(self, indices: np.ndarray) -> Self:
        return type(self)(
            self.table.select(indices), self.labels[indices], self.channels, self.name
        )


def open_hub(
    name: str,
    val_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
    *,
    limit: int | None = None,
    preprocessing: Preprocessing | None = None,
) -> Source:
    """Return the data set ``name`` of the hub, downloaded once.

    The columns are recognised by their types: an image, and class names or values. Small images of
    one size are held in memory, and normalised by their own mean and deviation; photos are decoded
    as they are needed, and normalised like ImageNet's.

    Args:
        name: ``"owner/name"``, or ``"owner/name:config"`` where there are several configurations;
            also a local path that ``datasets.load_dataset`` takes.
        val_share: share of train to hold out for validation where no such split is published.
        test_share: likewise for test.
        seed: another seed holds other images out.
        limit: maximum number of images in each split; the first of every class are used.
        preprocessing: what the network expects, if that is known already.

    Raises:
        ValueError: if ``datasets`` is missing, the hub is out of reach or does not know the name,
            or the table has no column of images or of labels.
    """
    tables = _parts(_load(name), name)
    image, label = (find(tables["train"], name) for find in (_image_column, _label_column))
    classes = _classes(tables["train"], label)
    channels = preprocessing.channels if preprocessing else 3
    found: dict[str, HubSplit] = {}
    for part, table in tables.items():
        labels = _labels(table, label, classes, f"{part} of {name}")
        if labels is not None:
            found[part] = HubSplit(_encoded(table, image), labels, channels, f"{part} of {name}")
    if "train" not in found:
        raise ValueError(f"{name}: the images of train have no labels")
    splits: Mapping[str, Split] = found
    if arrays := _in_memory(found):
        splits = arrays
        if preprocessing is None:
            splits, preprocessing = suited(arrays)
    train, val, test = limited(
        divide(splits["train"], splits.get("val"), splits.get("test"), val_share, test_share, seed),
        limit,
    )
    return Source(name, classes, train, val, test, preprocessing or IMAGENET)


def _load(name: str) -> Mapping[str, Dataset]:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"{name!r} would come from the Hugging Face hub, which needs the library 'datasets':"
            " pip install 'senet[hub]'"
        ) from error
    path, _, config = name.partition(":")
    try:
        with offline_if_unreachable():
            return datasets.load_dataset(path, config or None)  # type: ignore[return-value]
    except ConnectionError as error:  # also on a machine that was told to stay offline
        raise ValueError(
            f"{name!r}: the Hugging Face hub cannot be reached ({error}). Get online, or use the"
            " bundled 'fashion-mnist', or a folder of images"
        ) from error
    except Exception as error:  # not found, not public, several configurations, no data files ...
        raise ValueError(f"{name!r} cannot be loaded from the Hugging Face hub: {error}") from error


def _parts(data: Mapping[str, Dataset], name: str) -> dict[str, Dataset]:
    parts = {PARTS[key.lower()]: table for key, table in data.items() if key.lower() in PARTS}
    if "train" not in parts:
        raise ValueError(f"{name} has no split 'train', but {_list(data)}")
    return parts


def _image_column(table: Dataset, name: str) -> str:
    from datasets import Image

    columns = [key for key, feature in table.features.items() if isinstance(feature, Image)]
    if not columns:
        raise ValueError(f"{name} has no column of images, but {_list(table.features)}")
    return _preferred(columns, IMAGE_COLUMNS) or columns[0]


def _label_column(table: Dataset, name: str) -> str:
    from datasets import ClassLabel, Value

    named = dict(table.features)
    columns = [key for key, feature in named.items() if isinstance(feature, ClassLabel)]
    if columns:
        finest = max(columns, key=lambda key: named[key].num_classes)
        return _preferred(columns, LABEL_COLUMNS) or finest
    columns = [key for key, feature in named.items() if isinstance(feature, Value)]
    column = _preferred(columns, LABEL_COLUMNS)
    if column is None:
        raise ValueError(
            f"{name} has no column of class labels, but {_list(named)};"
            " senet trains classifiers, with one label per image"
        )
    return column


def _preferred(columns: list[str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in columns), None)


def _classes(train: Dataset, column: str) -> tuple[str, ...]:
    from datasets import ClassLabel

    feature = train.features[column]
    if isinstance(feature, ClassLabel):
        return tuple(feature.names)
    return tuple(str(value) for value in sorted(set(train.unique(column)) - {None}))


def _labels(table: Dataset, column: str, classes: tuple[str, ...], name: str) -> np.ndarray | None:
    """Return class numbers, or ``None`` for a split published without (as in competitions)."""
    from datasets import ClassLabel

    if column not in table.features:
        return None
    values: list[Any] = table.select_columns([column])[:][column]
    if isinstance(table.features[column], ClassLabel):
        labels = np.array([-1 if value is None else value for value in values], dtype=np.int64)
    else:
        number = {value: i for i, value in enumerate(classes)}
        labels = np.array([number.get(str(value), -1) for value in values], dtype=np.int64)
    unknown = int((labels < 0).sum())
    if unknown == len(labels):
        return None
    if unknown:
        raise ValueError(f"{name}: {unknown:,} of {len(labels):,} images have no known label")
    return labels


def _encoded(table: Dataset, column: str) -> Dataset:
    from datasets import Image

    return table.select_columns([column]).cast_column(column, Image(decode=False))


def _in_memory(splits: Mapping[str, HubSplit]) -> dict[str, ArraySplit] | None:
    """Return the images as arrays, if all are small and of one size."""
    first = splits["train"].picture(0)
    height, width = first.height, first.width
    if height != width or height > SMALL:
        return None
    arrays = {}
    for part, split in splits.items():
        images = torch.empty(len(split), split.channels, height, width, dtype=torch.uint8)
        for index in range(len(split)):
            pixels = split.picture(index).pixels()
            if pixels.shape[1:] != (height, width):
                return None
            images[index] = pixels
        arrays[part] = ArraySplit(images, split.labels)
    return arrays


def _list(names: Any) -> str:
    return ", ".join(repr(name) for name in names) or "nothing"
