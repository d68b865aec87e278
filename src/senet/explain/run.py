"""From what a user names to a page: what ``senet explain`` does."""

from __future__ import annotations

import base64
import io
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from senet.data.batches import Batches
from senet.data.decode import open_picture
from senet.data.transforms import CentreCrop, normalise
from senet.device import find_device
from senet.explain.explanation import Explanation, Picture, network
from senet.explain.image import one_image
from senet.explain.save import require_new
from senet.explain.subject import LIMIT, Subject, open_subject

BATCH = 32
SIDE = 240
"""Longest side of an image on the page, in pixels."""

T = TypeVar("T")
Watch = Callable[[Iterable[T], int], Iterable[T]]


def explain(
    name: str,
    data: str | None = None,
    images: Sequence[str | os.PathLike[str]] = (),
    *,
    out: str | os.PathLike[str],
    split: str | None = None,
    limit: int = LIMIT,
    language: str | None = None,
    device: str = "auto",
    watch: Watch | None = None,
) -> tuple[Explanation, Path]:
    """Record the gates of a network that a user names, and write the page into a new folder.

    The first Ctrl-C ends the recording, and the page shows what was recorded until then.

    Args:
        name: the network, as for :func:`.open_subject`.
        data: the images to record, likewise.
        images: files of single images to show on the page.
        out: the folder to write; it must not exist, or be empty.
        split: the split of the images.
        limit: the largest number of images to record.
        language: ``"en"`` or ``"zh-TW"``; by default the browser of the reader decides.
        device: where to compute; ``"auto"`` takes a GPU if there is one.
        watch: what iterates over the batches, of which it is told the number: a progress bar.

    Returns:
        what was found, and the path of the page.

    Raises:
        ValueError: as :func:`.open_subject`, if there is something in ``out``, or an image cannot
            be read. Nothing has been written then.
    """
    folder = require_new(out)
    subject = open_subject(name, data, split, limit)
    place = find_device(device)
    subject.model.to(place)
    opened = [_opened(os.fspath(file), subject) for file in images]
    batches = Batches(subject.images, subject.preprocessing, BATCH, place)
    with _until_interrupted(batches) as patient:
        watched = watch(patient, len(batches)) if watch else patient
        found = network(subject.model, watched, subject.classes, name=name)
    pictures = tuple(_picture(file, pixels, subject, found, place) for file, pixels in opened)
    found = replace(found, notes=subject.notes(found, batches), pictures=pictures)
    return found, found.save(folder, language)


@contextmanager
def _until_interrupted(batches: Iterable[T]) -> Iterator[Iterable[T]]:
    """Yield the batches, which end at the first Ctrl-C; a second one interrupts as usual."""
    asked = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    def until_asked() -> Iterator[T]:
        try:
            for batch in batches:
                yield batch
                if asked.is_set():
                    return
        except RuntimeError:  # processes that read images have stopped at the same Ctrl-C
            if not asked.is_set():
                raise

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, stop)
    try:
        yield until_asked()
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _opened(file: str, subject: Subject) -> tuple[str, Tensor]:
    """Return an image as the network sees it, uint8 ``[C, size, size]``, with its name."""
    p = subject.preprocessing
    return file, CentreCrop.of(p)(open_picture(file, p.channels))


def _picture(
    file: str, pixels: Tensor, subject: Subject, found: Explanation, place: torch.device
) -> Picture:
    p = subject.preprocessing
    x = normalise(pixels[None].to(place), p.mean, p.std)
    answer, probability, changed = one_image(subject.model, x, found.blocks)
    name = subject.answers[answer] if subject.answers else f"output {answer}"
    return Picture(Path(file).name, _thumbnail(pixels), name, probability, changed)


def _thumbnail(pixels: Tensor) -> str:
    """Return an image as a data URI, as small as the page shows it."""
    array = pixels.permute(1, 2, 0).numpy()
    picture = Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array)
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
