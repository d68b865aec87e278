"""From what a user names to a page: what ``senet explain`` does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from senet.data.batches import Batches
from senet.data.decode import ImageError, open_picture
from senet.data.source import Split
from senet.data.transforms import CentreCrop, normalise
from senet.device import find_device
from senet.explain.ablation import ablate
from senet.explain.explanation import Explanation, Note, network
from senet.explain.picture import Picture, data_uri, picture
from senet.explain.save import require_new
from senet.explain.subject import LIMIT, Subject, open_subject

BATCH = 32
ABLATED = 200
"""Images for the exact ablation if no other number is named."""
ABLATION_BATCH = 16
SMALL = 64
"""Longest side in pixels of the images of the data set on the page."""

T = TypeVar("T")
Watch = Callable[[Iterable[T], int, str], Iterable[T]]


def explain(
    name: str,
    data: str | None = None,
    images: Sequence[str | os.PathLike[str]] = (),
    *,
    out: str | os.PathLike[str],
    split: str | None = None,
    limit: int = LIMIT,
    ablated: int = ABLATED,
    beside: str | None = None,
    language: str | None = None,
    device: str = "auto",
    watch: Watch | None = None,
) -> tuple[Explanation, Path]:
    """Explain a network that a user names, and write the page into a new folder.

    The first Ctrl-C ends the work after the batch or image at hand, and the page shows what was
    done until then.

    Args:
        name: the network, as for :func:`.open_subject`.
        data: the images to record, likewise.
        images: files of single images to show on the page.
        out: the folder to write; it must not exist, or be empty.
        split: the split of the images.
        limit: the largest number of images to record.
        ablated: the largest number of images for the exact ablation; 0 leaves it out.
        beside: a second network, which sees the same images.
        language: ``"en"`` or ``"zh-TW"``; by default the browser of the reader decides.
        device: where to compute; ``"auto"`` takes a GPU if there is one.
        watch: what iterates over batches, of which it is told the number and what is done with
            them: a progress bar.

    Returns:
        what was found, and the path of the page.

    Raises:
        ValueError: as :func:`.open_subject`, if there is something in ``out``, an image cannot be
            read, or the second network does not see the same images. Nothing has been written then.
    """
    folder = require_new(out)
    subject = open_subject(name, data, split, limit)
    second = None if beside is None else open_subject(beside, data, split, limit)
    if second is not None:
        _require_same(subject, second)
    opened = [_opened(os.fspath(file), subject) for file in images]
    place = find_device(device)
    with _until_interrupted() as patience:
        study = _Study(ablated, place, patience, watch or (lambda batches, total, what: batches))
        found = study.of(subject)
        watched = study.watch(patience.until_asked(opened), len(opened), "looking at images")
        pictures = tuple(_picture(file, pixels, subject, found, place) for file, pixels in watched)
        other = study.of(second) if second is not None and not patience.asked else None
    if (second is not None and other is None) or len(pictures) < len(opened):
        found = replace(found, notes=(Note("left_out", {}), *found.notes))
    found = replace(found, pictures=pictures, other=other, look=_look(subject.images))
    return found, found.save(folder, language)


@dataclass(frozen=True)
class _Study:
    """How networks are studied: on how many images, where, and who watches."""

    ablated: int
    place: torch.device
    patience: _Patience
    watch: Watch

    def of(self, subject: Subject) -> Explanation:
        """Record a network's gates, then replace them."""
        subject.model.to(self.place)
        batches = Batches(subject.images, subject.preprocessing, BATCH, self.place)
        patient = self.patience.until_asked(batches)
        watched = self.watch(patient, len(batches), "recording")
        found = network(subject.model, watched, subject.classes, name=subject.name)
        found = replace(found, notes=subject.notes(found, batches))
        # They are in a random order: the first ones are a sample.
        some = subject.images.subset(np.arange(min(self.ablated, found.images)))
        batches = Batches(some, subject.preprocessing, ABLATION_BATCH, self.place)
        patient = self.patience.until_asked(batches)
        watched = self.watch(patient, len(batches), "replacing gates")
        own = subject.answers != subject.classes
        return replace(found, ablation=ablate(subject.model, watched, found.blocks, own=own))


class _Patience:
    """Whether Ctrl-C has been pressed; work asks it between two batches."""

    def __init__(self) -> None:
        self.asked = False

    def until_asked(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches, which end at the first Ctrl-C."""
        if self.asked:
            return
        try:
            for batch in batches:
                yield batch
                if self.asked:
                    return
        except RuntimeError:  # processes that read images have stopped at the same Ctrl-C
            if not self.asked:
                raise


@contextmanager
def _until_interrupted() -> Iterator[_Patience]:
    """Yield what notices the first Ctrl-C; a second one interrupts as usual."""
    patience = _Patience()
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        patience.asked = True
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, stop)
    try:
        yield patience
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _require_same(one: Subject, other: Subject) -> None:
    """Raise an error unless two networks see the same images with the same labels."""
    if one.classes != other.classes or len(one.images) != len(other.images) or one.all != other.all:
        raise ValueError(
            f"{one.name} sees {one.all:,} images of {len(one.classes):,} classes, and {other.name} "
            f"{other.all:,} of {len(other.classes):,}: name images that both know, with --data"
        )


def _opened(file: str, subject: Subject) -> tuple[str, Tensor]:
    """Return an image as the network sees it, uint8 ``[C, size, size]``, with its name."""
    p = subject.preprocessing
    return file, CentreCrop.of(p)(open_picture(file, p.channels))


def _picture(
    file: str, pixels: Tensor, subject: Subject, found: Explanation, place: torch.device
) -> Picture:
    p = subject.preprocessing
    x = normalise(pixels[None].to(place), p.mean, p.std)
    return picture(Path(file).name, subject.model, x, pixels, found.blocks, subject.answers)


def _look(images: Split) -> Callable[[int], str]:
    """Return what shows the image at a position; an image that cannot be read shows nothing."""

    def look(position: int) -> str:
        try:
            return data_uri(images[position][0], SMALL)
        except ImageError:
            return ""

    return look
