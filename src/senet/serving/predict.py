"""Classify images, batch by batch, with the preprocessing that the weights were trained with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from senet.data import ImageError, transforms
from senet.data.decode import open_picture
from senet.device import find_device
from senet.fuse.worth import fast_for
from senet.models.weights.record import Record
from senet.runs.trained import open_trained
from senet.serving.find import Found


@dataclass(frozen=True)
class Prediction:
    """What a network says about an image.

    Attributes:
        file: the image.
        guesses: classes and their probabilities, the most probable first; empty if there is an
            ``error``.
        error: why there is no prediction; empty if there is one.
    """

    file: str
    guesses: tuple[tuple[str, float], ...] = ()
    error: str = ""


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
        cls, word: str | os.PathLike[str], device: str = "auto", network: str | None = None
    ) -> Predictor:
        """Load the network of a run folder, a model file or other weights.

        The arguments and errors are those of :func:`~senet.runs.trained.open_trained`.
        """
        found = open_trained(word, network)
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
        self, files: Iterable[str | Found], top: int = 2, batch_size: int = 32
    ) -> Iterator[Prediction]:
        """Yield a prediction for each file, in their order, also for those that cannot be read.

        The files of the next batch are read while the network computes this one.

        Args:
            files: paths, or what :func:`find_images` found.
            top: guesses per image, at most the number of classes.
            batch_size: images per batch.
        """
        if top < 1 or batch_size < 1:
            raise ValueError(f"top={top} and batch_size={batch_size} must be at least 1")
        if isinstance(files, Sized):
            self.expect(len(files))
        for batch in self.batches(files, batch_size):
            yield from self._answer(batch, top)

    def batches(
        self, files: Iterable[str | Found], batch_size: int
    ) -> Iterator[list[tuple[str, Tensor | str]]]:
        """Yield each file with the network's input, or with the reason why it cannot be read."""
        found = (Found(file) if isinstance(file, str) else file for file in files)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # the decoders release the GIL
            reading = [pool.submit(self._read, one) for one in islice(found, batch_size)]
            while reading:
                following = [pool.submit(self._read, one) for one in islice(found, batch_size)]
                yield [future.result() for future in reading]
                reading = following

    def _read(self, found: Found) -> tuple[str, Tensor | str]:
        if found.error:
            return found.file, found.error
        try:
            return found.file, self.image(found.file)
        except ImageError as error:
            return found.file, error.reason

    def _answer(self, batch: Sequence[tuple[str, Tensor | str]], top: int) -> Iterator[Prediction]:
        images = [image for _, image in batch if isinstance(image, Tensor)]
        answers = iter(self.probabilities(torch.stack(images)) if images else ())
        for file, image in batch:
            if isinstance(image, Tensor):
                yield Prediction(file, self._guesses(next(answers), top))
            else:
                yield Prediction(file, error=image)

    def _guesses(self, probabilities: Tensor, top: int) -> tuple[tuple[str, float], ...]:
        best = probabilities.topk(min(top, len(self.record.classes)))
        names = [self.record.classes[i] for i in best.indices.tolist()]
        return tuple(zip(names, best.values.tolist(), strict=True))
