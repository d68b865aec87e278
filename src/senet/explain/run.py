"""From what a user names to a page: what ``senet explain`` does."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TypeVar

import torch
from torch import Tensor, nn

from senet.data.batches import Batches
from senet.data.decode import ImageError, open_picture
from senet.data.source import Split
from senet.data.transforms import CentreCrop, normalise
from senet.device import find_device
from senet.explain.ablation import Ablation, ablate
from senet.explain.answers import Answers, Heard
from senet.explain.explanation import EXAMPLES, Explanation, Note, of_record
from senet.explain.picture import Picture, data_uri, picture
from senet.explain.save import require_new
from senet.explain.subject import LIMIT, Subject, open_subject
from senet.explain.team import Team, team
from senet.gates import blocks_of, gathered, record
from senet.graph.capture import evaluating

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
) -> tuple[Explanation, Path | None]:
    """Explain a network that a user names, and write the page into a new folder.

    The first Ctrl-C ends the work after the batch or image at hand, and the page shows what was
    done until then. Under ``torchrun`` every process calls this, for a share of the images, and the
    first one writes; Ctrl-C then ends all of them at once.

    Args:
        name: the network, as for :func:`.open_subject`.
        data: the images to record, likewise.
        images: files of single images to show on the page.
        out: the folder to write; it must not exist, or be empty.
        split: the split of the images.
        limit: the largest number of images to record.
        ablated: the largest number of images for the exact ablation; 0 leaves it out.
        beside: a second network, which sees the same images; it may be one without SE.
        language: ``"en"`` or ``"zh-TW"``; by default the browser of the reader decides.
        device: where to compute; ``"auto"`` takes a GPU if there is one.
        watch: what iterates over batches, of which it is told the number and what is done with
            them: a progress bar.

    Returns:
        what was found, and the path of the page, which is ``None`` in all processes but the first.

    Raises:
        ValueError: as :func:`.open_subject`, if there is something in ``out``, an image cannot be
            read, or the second network does not see the same images. Nothing has been written then.
    """
    folder = require_new(out)
    subject = open_subject(name, data, split, limit)
    second = None if beside is None else open_subject(beside, data, split, limit, gated=False)
    if second is not None:
        _require_same(subject, second)
    opened = [_opened(os.fspath(file), subject) for file in images]
    with team() as members, _until_interrupted(members) as patience:
        _require_enough(subject, members)
        watch = watch if watch and members.rank == 0 else _unwatched
        study = _Study(ablated, find_device(device), patience, watch, members)
        found = study.of(subject)
        pictures = study.pictures(opened, subject, found)
        other = study.of(second) if second is not None and not patience.asked else None
    if patience.asked:
        warnings.warn("interrupted: everything is about what was done until then", stacklevel=2)
    if (second is not None and other is None) or len(pictures) < len(opened):
        found = replace(found, notes=(Note("left_out", {}), *found.notes))
    found = replace(found, pictures=pictures, other=other, look=_look(subject.images))
    return found, found.save(folder, language) if members.rank == 0 else None


def _unwatched(batches: Iterable[T], total: int, what: str) -> Iterable[T]:
    return batches


@dataclass(frozen=True)
class _Study:
    """How networks are studied: on how many images, where, who watches, and who helps."""

    ablated: int
    place: torch.device
    patience: _Patience
    watch: Watch
    team: Team

    def of(self, subject: Subject) -> Explanation:
        """Record a network's gates, then replace them; a network without SE only answers."""
        subject.model.to(self.place)
        mine = self.team.share(len(subject.images))
        batches = Batches(subject.images.subset(mine), subject.preprocessing, BATCH, self.place)
        heard = Heard(subject.model, self.patience.until_asked(batches))
        if blocks_of(subject.model):
            watched = self.watch(heard, len(batches), "recording")
            blocks = record(subject.model, watched, len(subject.classes), examples=EXAMPLES)
            found = of_record(gathered(blocks), subject.classes, subject.name)
        else:
            _run(subject.model, self.watch(heard, len(batches), "asking the other network"))
            found = Explanation(subject.name, {}, subject.classes)
        own = heard.answers([subject.names[at] for at in mine])
        answers = Answers.of_parts(self.team.gathered(own))
        bad = self.team.gathered(batches.bad_files)
        vanished = {file: why for part in bad for file, why in part.items()}
        found = replace(found, answers=answers if subject.knows else None)
        found = replace(found, notes=subject.notes(found, vanished))
        return replace(found, ablation=self._ablation(subject, found)) if found.blocks else found

    def _ablation(self, subject: Subject, found: Explanation) -> Ablation | None:
        # The images are in a random order: the first ones are a sample. Shares of whole batches:
        # the image whose gates another one is given is then the same for any number of processes.
        mine = self.team.share(min(self.ablated, found.images), ABLATION_BATCH)
        some = subject.images.subset(mine)
        batches = Batches(some, subject.preprocessing, ABLATION_BATCH, self.place)
        patient = self.patience.until_asked(batches)
        watched = self.watch(patient, len(batches), "replacing gates")
        own = ablate(subject.model, watched, found.blocks, own=not subject.knows)
        return Ablation.of_parts(self.team.gathered(own))

    def pictures(
        self, opened: Sequence[tuple[str, Tensor]], subject: Subject, found: Explanation
    ) -> tuple[Picture, ...]:
        """Look at single images, as many as there is patience for."""
        mine = [opened[at] for at in self.team.share(len(opened))]
        watched = self.watch(self.patience.until_asked(mine), len(mine), "looking at images")
        own = [_picture(file, pixels, subject, found, self.place) for file, pixels in watched]
        return tuple(one for part in self.team.gathered(own) for one in part)


@torch.no_grad()
def _run(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Run a network on images, for what hears its answers."""
    with evaluating(model):
        for x, _ in batches:
            model(x)


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
def _until_interrupted(members: Team) -> Iterator[_Patience]:
    """Yield what notices the first Ctrl-C; a second one interrupts as usual.

    So does the first one where there are several processes: they would stop at different images.
    """
    patience = _Patience()
    if members.size > 1:
        yield patience
        return
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


def _require_enough(subject: Subject, members: Team) -> None:
    if len(subject.images) < members.size:
        raise ValueError(
            f"{len(subject.images):,} images are too few for {members.size:,} processes: start "
            "fewer of them"
        )


def _require_same(one: Subject, other: Subject) -> None:
    """Raise an error unless two networks can be compared: same images, same labels, same words."""
    if one.classes != other.classes or len(one.images) != len(other.images) or one.all != other.all:
        raise ValueError(
            f"{one.name} sees {one.all:,} images of {len(one.classes):,} classes, and {other.name} "
            f"{other.all:,} of {len(other.classes):,}: name images that both know, with --data"
        )
    if not (blocks_of(other.model) or (one.knows and other.knows)):
        raise ValueError(
            f"{other.name} has no SE block, so only its answers can be compared with those of "
            f"{one.name}, and the classes of these images are not the outputs of both: name two "
            "networks that were trained on these classes"
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
