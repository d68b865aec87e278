"""A trained network, and the images that it is scored on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from senet.data import Source, Split, open_source
from senet.data.folder import (
    FolderSplit,
    UnknownClassError,
    digests_of,
    open_labelled,
    open_new,
    open_recorded,
)
from senet.data.layout import find_layout, listed, number_of, same_name
from senet.data.place import images_folder
from senet.models.weights.imagenet import class_names, wordnet_ids
from senet.models.weights.record import Record
from senet.paths import expanded, is_images, table_of
from senet.runs.folder import RunFolder
from senet.runs.images import recorded_source, require_any
from senet.runs.trained import open_trained

NAMES = ("test", "val", "train")


@dataclass(frozen=True)
class Scored:
    """Images to score a network on.

    Attributes:
        images: the images, labelled with the network's class numbers.
        split: ``"test"``, ``"val"`` or ``"train"``; ``"all"`` for a folder without splits.
        new: images that were added to the run's own folder after the training.
        seen: how many images of another folder the network was trained on.
    """

    images: Split
    split: str
    new: Split | None = None
    seen: int = 0


def open_scored(
    model: str | os.PathLike[str],
    data: str | None = None,
    split: str | None = None,
    usual: str = "test",
    network: str | None = None,
    preprocessing: str | None = None,
) -> tuple[nn.Module, Record, Scored]:
    """Load a trained network and its record, and open the images to score it on.

    Args:
        model: the folder of a finished run, a model file, or other weights, as
            :func:`~senet.runs.trained.open_trained` takes them.
        data: a data set or a folder; by default that of the run. Folders of ImageNet's classes may
            have their WordNet ids as names.
        split: the split, if there are any.
        usual: the split to take if none is named.
        network: name of the network, for weights that do not name it.
        preprocessing: how its images are taken, for weights that do not say it.

    Returns:
        the network, its record, and the images. If its classes have no names and it is not in a
        run, they get those of the data in their order, with a warning, if these are as many.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: as :func:`images_to_score`.
    """
    found = open_trained(model, network, preprocessing)
    record = found.record
    if data is not None and not (found.file and RunFolder(found.file.parent).begun):
        record = _named_by(data, record, os.fspath(model))
    images = images_to_score(found.file, record, data, split, usual)
    return found.network, record, images


def _named_by(data: str, record: Record, weights: str) -> Record:
    """Return a record whose classes have the names of the data's, if they only have numbers.

    Programs that train on a folder number its classes in the order of their names, and data sets
    have an order of their own; a state dict says nothing. So this is a guess, and is said.
    """
    count = len(record.classes)
    if record.classes != tuple(map(str, range(count))):
        return record
    place = expanded(data)
    if is_images(place):
        parts = find_layout(place).parts
        names = tuple((parts.get("train") or next(iter(parts.values()))).by_name)
    else:
        names = open_source(data, preprocessing=record.preprocessing).classes
    if len(names) != count or set(names) == set(record.classes):
        return record
    warnings.warn(
        f"{weights} does not name its {count:,} classes: they are taken to be those of {data} in "
        f"their order, {listed(names)}. If it was trained with another order, its figures are wrong",
        stacklevel=2,
    )
    return replace(record, classes=names)


def images_to_score(
    file: Path | None,
    record: Record,
    data: str | None,
    split: str | None,
    usual: str = "test",
) -> Scored:
    """Open the images to score a network on.

    The images of the run are split as the run recorded, wherever their folder is now. Any other
    folder without train, val and test folders is taken whole.

    Args:
        file: the model file, in its run folder or elsewhere, if there is one.
        record: the record of the network.
        data: a data set or a folder; by default that of the run.
        split: the split, if there are any.
        usual: the split to take if none is named.

    Raises:
        UnknownClassError: if the data have a class that the network does not know.
        ValueError: if there is no such split, or ``data`` is needed and not given.
    """
    if split not in (*NAMES, None):
        raise ValueError(f"split must be 'train', 'val' or 'test', got {split!r}")
    run = RunFolder(file.parent) if file is not None else None
    begun = run.read_data() if run and run.begun else None
    place = expanded(data) if data else None
    if place is not None and is_images(place):
        if begun is None or not _is_own(place, begun):
            return _other_folder(place, begun, record, split)
    elif data is not None:
        source = open_source(data, preprocessing=record.preprocessing)
        return Scored(_part(source, record, split or usual), split or usual)
    if run is None or begun is None:
        which = file or record.architecture.name
        raise ValueError(f"{which} is not in a run folder, so name the images with --data")
    if begun["record"] is None:
        return Scored(_part(recorded_source(run), record, split or usual), split or usual)
    return _own_folder(run, place or Path(begun["path"]), begun, record, split or usual)


def _is_own(place: Path, begun: Mapping[str, Any]) -> bool:
    """Whether a folder is the run's own folder of images, perhaps moved since."""
    if not begun["path"]:
        return False
    if place.resolve() == Path(begun["path"]):
        return True
    files = [f for part in NAMES for own in begun["record"][part].values() for f in own]
    gone = not is_images(Path(begun["path"]))
    return gone and all((images_folder(place) / file).is_file() for file in files)


def _own_folder(
    run: RunFolder, place: Path, begun: Mapping[str, Any], record: Record, split: str
) -> Scored:
    require_any(run, place)
    classes = begun["record"]["classes"]
    if number_of(classes) != number_of(record.classes):
        raise ValueError(
            f"{run.model_file} is not the network of its run: it knows {listed(record.classes)}, "
            f"and the images of the run are of {listed(classes)}"
        )
    channels = record.preprocessing.channels
    images = open_recorded(place, begun["record"], split, channels)
    if not len(images):
        raise ValueError(f"{place} has no images of the run's split {split!r}")
    every = run.read_config().get("limit") is None
    new = open_new(place, begun["record"], channels) if every and split != "train" else None
    return Scored(images, split, new or None)


def _other_folder(
    place: Path, begun: Mapping[str, Any] | None, record: Record, split: str | None
) -> Scored:
    channels = record.preprocessing.channels
    images, part = open_labelled(place, _names_in(place, record), split, channels=channels)
    seen = _seen(images, begun["record"]) if begun and begun["record"] else 0
    return Scored(images, part, seen=seen)


def _names_in(place: Path, record: Record) -> tuple[str, ...]:
    """Return the names that the network's classes have in a folder: WordNet ids are found there."""
    if record.classes != class_names():
        return record.classes
    if table_of(place):
        known = set(find_layout(place).parts["train"].by_name)
        return wordnet_ids() if known & set(wordnet_ids()) else record.classes
    folder = images_folder(place)
    levels = (folder, *(folder / part for part in NAMES))
    ids = any((level / id).is_dir() for level in levels for id in wordnet_ids())
    return wordnet_ids() if ids else record.classes


def _seen(images: FolderSplit, begun: Mapping[str, Any]) -> int:
    trained_on = set(digests_of(begun, "train").values())
    return sum(digest in trained_on for digest in images.digests)


def _part(source: Source, record: Record, split: str) -> Split:
    """Return a split of a data set, with the labels of the network, matched by class name."""
    images = {"train": source.train, "val": source.val, "test": source.test}[split]
    if images is None:
        raise ValueError(f"{source.name} has too few images for a validation split")
    if source.classes == record.classes:
        return images
    number = number_of(record.classes)
    if strange := [name for name in source.classes if same_name(name) not in number]:
        raise UnknownClassError(
            f"the network knows {len(record.classes):,} classes ({listed(record.classes)}), but"
            f" {source.name} has others: {listed(strange)}"
        )
    return images.relabelled(np.array([number[same_name(name)] for name in source.classes]))
