"""Features of images: numbers by which like images are near one another."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from senet import files
from senet.cache import name_of
from senet.runs.trained import open_body
from senet.serving.find import Found
from senet.serving.predict import Predictor

SUFFIXES = (".parquet", ".npz", ".csv")


@dataclass(frozen=True)
class Embedded:
    """The features of images.

    Attributes:
        files: the images that could be read.
        features: float32 ``[n, D]``.
        errors: the other files, with the reasons.
    """

    files: tuple[str, ...]
    features: np.ndarray
    errors: dict[str, str]

    def like(self, one: np.ndarray, count: int) -> list[tuple[str, float]]:
        """Return the images whose features are nearest to ``one``, with the cosine of the angle.

        Example:
            >>> found = Embedded(("a", "b"), np.eye(2, dtype=np.float32), {})
            >>> found.like(np.array([1.0, 0.0]), 1)
            [('a', 1.0)]
        """
        lengths = np.linalg.norm(self.features, axis=1) * np.linalg.norm(one)
        cosines = self.features @ one / np.maximum(lengths, 1e-12)
        nearest = np.argsort(-cosines, kind="stable")[:count]
        return [(self.files[i], float(cosines[i])) for i in nearest]


class Embedder(Predictor):
    """A network without its classifier, and everything needed to give it images.

    Example:
        >>> from senet.models import create_model
        >>> from senet.models.weights.record import Record
        >>> model = create_model("resnet8_cifar", num_classes=0)
        >>> embedder = Embedder(model, Record.of(model))
        >>> embedder.outputs(torch.zeros(4, 3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([4, 64])
    """

    @classmethod
    def load(
        cls,
        word: str | os.PathLike[str],
        device: str = "auto",
        network: str | None = None,
        preprocessing: str | None = None,
    ) -> Embedder:
        """Load a network, as :func:`~senet.runs.trained.open_body` does."""
        found = open_body(word, network, preprocessing)
        return cls(found.network, found.record, device)

    def embed(self, images: Iterable[str | Found], batch_size: int = 32) -> Embedded:
        """Return the features of images, also where some of them cannot be read."""
        names, parts, errors = [], [], {}
        if isinstance(images, Sized):
            self.expect(len(images))
        for batch in self.batches(images, batch_size):
            errors |= {one.file: one.error for one in batch if one.image is None}
            names += [one.file for one in batch if one.image is not None]
            if images_read := [one.image for one in batch if one.image is not None]:
                parts.append(self.outputs(torch.stack(images_read)).numpy())
        features = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
        return Embedded(tuple(names), features, errors)


def require_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Raises:
        ValueError: for an unknown suffix.
        FileExistsError: if it exists.
        FileNotFoundError: if its folder does not.
        OSError: if it cannot be written there.
        ImportError: for ``.parquet`` without pyarrow.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: features are written as {', '.join(SUFFIXES)}: name such a file")
    if path.exists():
        raise FileExistsError(f"{path} already exists: name another file, or delete it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    files.require_writable(path)
    if path.suffix == ".parquet":
        _parquet()


def write(path: Path, found: Embedded) -> None:
    """Write features, whole or not at all: columns ``file`` and ``features``, or one per number."""
    require_writable(path)
    names = [name_of(file) for file in found.files]
    if path.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, files=np.array(names), features=found.features)
        files.write_bytes(path, buffer.getbuffer())
    elif path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", *(f"f{i}" for i in range(found.features.shape[1]))])
        for file, row in zip(names, found.features.tolist(), strict=True):
            writer.writerow([file, *(f"{x:.6g}" for x in row)])
        files.write_bytes(path, text.getvalue().encode("utf-8", "backslashreplace"))
    else:
        pyarrow, parquet = _parquet()
        rows = pyarrow.array(list(found.features), pyarrow.list_(pyarrow.float32()))
        names = [file.encode("utf-8", "backslashreplace").decode() for file in names]
        with files.whole(path) as aside:
            parquet.write_table(pyarrow.table({"file": names, "features": rows}), aside)


def _parquet() -> tuple:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            "a .parquet file needs pyarrow: pip install pyarrow, or name a .npz or .csv file"
        ) from error
    return pyarrow, parquet
