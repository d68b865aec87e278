"""Classify images, batch by batch, with the preprocessing that the weights were trained with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from senet.cache import name_of
from senet.data import ImageError, transforms
from senet.data.decode import open_picture
from senet.data.layout import number_of, same_name
from senet.device import find_device
from senet.fuse.worth import fast_for
from senet.models.weights.record import Record
from senet.paths import is_url
from senet.runs.trained import open_trained
from senet.serving.fetch import fetch
from senet.serving.find import Found

MANY = 1000
"""After so many images that nobody has counted, as many more are expected."""


@dataclass(frozen=True)
class Prediction:
    """What a network says about an image.

    Attributes:
        file: the image: its file or address.
        guesses: classes and their probabilities, the most probable first; empty if there is an
            ``error``.
        error: why there is no prediction; empty if there is one.
        unsure: whether the highest probability is below the threshold; ``None`` without one.
        content: the bytes of an image from the web, which are nowhere else.
        label: the name of its class, if a table says so.
    """

    file: str
    guesses: tuple[tuple[str, float], ...] = ()
    error: str = ""
    unsure: bool | None = None
    content: bytes | None = field(default=None, repr=False, compare=False)
    label: str = ""

    @property
    def name(self) -> str:
        """The name of the image for people: ``file``, or where it is in an archive."""
        return name_of(self.file)


@dataclass(frozen=True)
class Read:
    """An image that was read, as the network takes it, or the reason why it cannot be read."""

    file: str
    image: Tensor | None = None
    error: str = ""
    content: bytes | None = field(default=None, repr=False)
    label: str = ""


class Predictor:
    """A trained network and everything needed to classify images with it.

    Args:
        model: maps ``[B, C, H, W]`` to logits ``[B, K]``.
        record: the record of its weights: preprocessing and class names.
        device: where to compute; ``"auto"`` takes a GPU if there is one.

    Raises:
        ValueError: if this machine has no such device.

    Example:
        >>> from senet.models import Preprocessing, create_model
        >>> model = create_model("resnet8_cifar", num_classes=2)
        >>> preprocessing = Preprocessing(32, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
        >>> predictor = Predictor(model, Record(model.architecture, preprocessing, ("cat", "dog")))
        >>> predictor.probabilities(torch.zeros(4, 3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([4, 2])
    """

    def __init__(self, model: nn.Module, record: Record, device: str = "auto") -> None:
        self.record = record
        self.device = find_device(device)
        self.crop = transforms.CentreCrop.of(record.preprocessing)
        self.model = model.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._run: nn.Module = self.model

    @classmethod
    def load(
        cls,
        word: str | os.PathLike[str],
        device: str = "auto",
        network: str | None = None,
        preprocessing: str | None = None,
    ) -> Predictor:
        """Load the network of a run folder, a model file or other weights.

        The arguments and errors are those of :func:`~senet.runs.trained.open_trained`.
        """
        found = open_trained(word, network, preprocessing)
        return cls(found.network, found.record, device)

    def image(self, file: str | os.PathLike[str] | bytes) -> Tensor:
        """Return an image file, or its bytes, as the network's input: uint8 ``[C, size, size]``.

        Raises:
            ImageError: if it cannot be read.
        """
        data = file if isinstance(file, bytes) else os.fspath(file)
        return self.crop(open_picture(data, self.record.preprocessing.channels))

    def probabilities(self, images: Tensor) -> Tensor:
        """Return class probabilities ``[B, K]``, on the CPU, of uint8 ``[B, C, size, size]``."""
        return self.outputs(images).softmax(1)

    @torch.inference_mode()
    def outputs(self, images: Tensor) -> Tensor:
        """Return what the network returns, on the CPU, of uint8 ``[B, C, size, size]``."""
        preprocessing = self.record.preprocessing
        x = transforms.normalise(
            images.to(self.device), preprocessing.mean, preprocessing.std, channels_last=True
        )
        return self._run(x).float().cpu()

    def expect(self, images: int) -> None:
        """Take the form of the network that computes so many images the fastest."""
        preprocessing = self.record.preprocessing
        size = preprocessing.size
        example = torch.zeros(2, preprocessing.channels, size, size, device=self.device)
        self._run = fast_for(self.model, images, example)

    def predict(
        self,
        files: Iterable[str | Found | None],
        top: int = 2,
        batch_size: int = 32,
        threshold: float | None = None,
    ) -> Iterator[Prediction]:
        """Yield a prediction for each file, in their order, also for those that cannot be read.

        The files of the next batch are read while the network computes this one.

        Args:
            files: paths or addresses, or what :func:`find_images` found. ``None`` among them says
                that nothing more has come for now: what is there is then answered at once.
            top: guesses per image, at most the number of classes.
            batch_size: images per batch.
            threshold: probability below which the best guess is marked as unsure.
        """
        if top < 1 or batch_size < 1:
            raise ValueError(f"top={top} and batch_size={batch_size} must be at least 1")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be a probability in [0, 1], got {threshold}")
        counted, seen = isinstance(files, Sized), 0
        if isinstance(files, Sized):
            self.expect(len(files))
        for batch in self.batches(files, batch_size):
            yield from self._answer(batch, top, threshold)
            seen += len(batch)
            if not counted and seen >= MANY:
                self.expect(MANY)
                counted = True

    def batches(self, files: Iterable[str | Found | None], batch_size: int) -> Iterator[list[Read]]:
        """Yield the files, read, in batches of one step."""
        with ThreadPoolExecutor() as pool:  # the decoders release the GIL
            reading = []
            for batch, more in _cut(files, batch_size):
                following = [pool.submit(self._read, one) for one in batch]
                if reading:
                    yield [future.result() for future in reading]
                reading = following
                if not more and reading:
                    yield [future.result() for future in reading]
                    reading = []

    def _read(self, found: Found) -> Read:
        if found.error:
            return Read(found.file, error=found.error, label=found.label)
        try:
            content = fetch(found.file) if is_url(found.file) else None
            image = self.image(found.file if content is None else content)
            return Read(found.file, image, content=content, label=found.label)
        except ImageError as error:
            return Read(found.file, error=error.reason, label=found.label)

    def _answer(
        self, batch: Sequence[Read], top: int, threshold: float | None
    ) -> Iterator[Prediction]:
        images = [one.image for one in batch if one.image is not None]
        answers = iter(self.probabilities(torch.stack(images)) if images else ())
        for one in batch:
            if one.image is None:
                yield Prediction(one.file, error=one.error, label=one.label)
                continue
            guesses = self._guesses(next(answers), top)
            unsure = None if threshold is None else guesses[0][1] < threshold
            yield Prediction(one.file, guesses, "", unsure, one.content, one.label)

    def _guesses(self, probabilities: Tensor, top: int) -> tuple[tuple[str, float], ...]:
        best = probabilities.topk(min(top, len(self.record.classes)))
        names = [self.record.classes[i] for i in best.indices.tolist()]
        return tuple(zip(names, best.values.tolist(), strict=True))


def as_labelled(predictions: Iterable[Prediction], classes: Sequence[str]) -> tuple[int, int]:
    """Return how many images got the class of their label, and how many have one to compare.

    Labels that the network has no class for, and images that could not be read, are not compared.

    Example:
        >>> cat, dog = (Prediction("a.jpg", (("cat", 0.9),), label=name) for name in ("cat", "dog"))
        >>> as_labelled([cat, cat, dog, Prediction("b.jpg")], ["cat", "dog"])
        (2, 3)
    """
    known = number_of(classes)
    both = [(one.guesses[0][0], one.label) for one in predictions if one.guesses]
    compared = [(same_name(guess), label) for guess, label in both if label in known]
    return sum(guess == label for guess, label in compared), len(compared)


def _cut(files: Iterable[str | Found | None], size: int) -> Iterator[tuple[list[Found], bool]]:
    """Yield batches, and whether more comes at once: then the next batch is read meanwhile."""
    batch: list[Found] = []
    for one in files:
        if one is None:
            yield batch, False
            batch = []
            continue
        batch.append(Found(one) if isinstance(one, str) else one)
        if len(batch) == size:
            yield batch, True
            batch = []
    yield batch, False
