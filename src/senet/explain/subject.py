"""What a user names: a network, with the images to explain it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from torch import nn

from senet.data import Split, open_source
from senet.data.folder import UnknownClassError, open_labelled
from senet.data.layout import find_layout
from senet.explain.explanation import Explanation, Note, require_blocks
from senet.foreign import find_network, timm_has_weights
from senet.models import entry, list_models
from senet.models.weights.record import Record
from senet.paths import expanded, is_images
from senet.preprocessing import IMAGENET, Preprocessing
from senet.runs.scored import images_to_score, open_scored
from senet.runs.trained import open_trained

LIMIT = 2000
"""Images that are recorded if no other number is named."""


@dataclass(frozen=True)
class Subject:
    """A network and the images to record.

    Attributes:
        name: the name for the page.
        model: the network.
        preprocessing: that of its images.
        classes: names of the classes of the images.
        answers: names of the network's outputs; empty where they are unknown.
        images: the images, in a random order that is always the same.
        names: a name of every image.
        all: the number of images that there were to choose from.
        skipped: files among the images that cannot be read, with the reasons.
        trained: whether the network has weights that were trained.
    """

    name: str
    model: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    answers: tuple[str, ...]
    images: Split
    all: int
    skipped: Mapping[str, str] = field(default_factory=dict)
    trained: bool = True
    names: tuple[str, ...] = ()

    @property
    def knows(self) -> bool:
        """Whether the labels of the images are among the network's outputs."""
        return self.answers == self.classes

    def notes(self, found: Explanation, vanished: Mapping[str, str]) -> tuple[Note, ...]:
        """Return what the reader of the page has to know about these images."""
        notes = [] if self.trained else [Note("untrained", {})]
        n = found.images
        if n < len(self.images):
            notes.append(Note("stopped", {"n": n, "wanted": len(self.images)}))
        if len(self.images) < self.all:
            notes.append(Note("limited", {"n": len(self.images), "all": self.all}))
        for key, bad in (("unreadable", self.skipped), ("vanished", vanished)):
            if bad:
                files = ", ".join(list(bad)[:5]) + (", …" if len(bad) > 5 else "")
                notes.append(Note(key, {"n": len(bad), "files": files}))
        return (*notes, *found.notes)


def open_subject(
    name: str,
    data: str | None = None,
    split: str | None = None,
    limit: int = LIMIT,
    gated: bool = True,
) -> Subject:
    """Open what a user names: a network, and the images to record.

    Args:
        name: a run folder, a model file, a published set of weights such as
            ``se_resnet50.timm_a1_in1k``, or a network of timm with its own weights,
            ``timm:seresnet50`` or ``timm:seresnet50.a1_in1k``; or a network with new weights: one
            of :func:`~senet.models.list_models`, ``torchvision:…``, or one of timm's for which it
            has no weights.
        data: a data set or a folder of class folders; by default that of the run.
        split: the split, if there are any; by default ``"test"``.
        limit: the largest number of images; they are drawn at random.
        gated: refuse a network that has no SE block.

    Raises:
        FileNotFoundError: if there is no such network.
        ValueError: if the network has no SE block, images are needed and not named, they have a
            class that the network does not know (but for those of timm and new ones, whose own
            answers stand for such labels), or weights cannot be had. The message says what to do.
    """
    if name in list_models() or name.startswith("torchvision:") or _is_untrained(name):
        opened = _of_library(name, data, split, gated)
    elif name.startswith("timm:"):
        opened = _of_timm(name, data, split, gated)
    else:
        model, record, scored = open_scored(name, data, split)
        if gated:
            require_blocks(model)
        opened = _subject(name, model, record, scored.images)
    chosen = np.random.default_rng(0).permutation(opened.all)[:limit]
    keys = opened.images.keys()
    names = tuple(keys[at] for at in chosen)
    return replace(opened, images=opened.images.subset(chosen), names=names)


def _subject(name: str, model: nn.Module, record: Record, images: Split) -> Subject:
    classes = record.classes
    p = record.preprocessing
    return Subject(name, model, p, classes, classes, images, len(images), images.skipped)


def _is_untrained(name: str) -> bool:
    """Whether a network of timm is named, of which timm has no weights."""
    library, _, own = name.partition(":")
    return library == "timm" and "." not in own and not timm_has_weights(own)


def _of_timm(name: str, data: str | None, split: str | None, gated: bool) -> Subject:
    """Open a network of timm with its weights; the classes of the images may be others."""
    data = _required(name, data)
    try:
        found = open_trained(name)
    except ValueError as error:
        raise ValueError(
            f"{error}. Networks with random weights: one of `senet models`, or torchvision:NAME"
        ) from error
    if gated:
        require_blocks(found.network)
    record = found.record
    try:
        scored = images_to_score(found.file, record, data, split)
    except UnknownClassError:
        classes, images = _with_own_classes(data, split, record.preprocessing)
        return replace(_subject(name, found.network, record, images), classes=classes)
    return _subject(name, found.network, record, scored.images)


def _of_library(name: str, data: str | None, split: str | None, gated: bool) -> Subject:
    """Open a network with new weights; its classes are those of the images."""
    model, side = find_network(name)
    if gated:
        require_blocks(model)
    known = name in list_models()
    p = entry(name).preprocessing if known else replace(IMAGENET, size=side)
    classes, images = _with_own_classes(_required(name, data), split, p)
    return Subject(name, model, p, classes, (), images, len(images), images.skipped, trained=False)


def _with_own_classes(
    data: str, split: str | None, preprocessing: Preprocessing
) -> tuple[tuple[str, ...], Split]:
    """Return the classes of images, whatever a network knows, and the images."""
    place = expanded(data)
    if is_images(place):
        parts = find_layout(place).parts.values()
        classes = tuple(sorted({one for part in parts for one in part.by_name}))
        images, _ = open_labelled(place, classes, split, channels=preprocessing.channels)
        return classes, images
    source = open_source(data, preprocessing=preprocessing)
    return source.classes, getattr(source, split or "test") or source.test


def _required(name: str, data: str | None) -> str:
    if data is None:
        raise ValueError(
            f"{name} has no images of its own: name a folder of class folders, or a data set, "
            "with --data"
        )
    return data
