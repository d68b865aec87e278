"""The features of a run's images: what its network, frozen, says before its classifier."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from senet import files


@dataclass(frozen=True)
class Features:
    """The features of the images of a split, kept so that an interrupted run need not repeat them.

    Attributes:
        labels: class numbers, ``[n]``.
        features: float32 ``[n, D]``.
        key: what they were computed from: another network or other images have another.
    """

    labels: np.ndarray
    features: np.ndarray
    key: str

    @classmethod
    def read(cls, path: Path, key: str) -> Features | None:
        """Return what was kept, or ``None`` if there is nothing, or it is of another key."""
        try:
            with np.load(path, allow_pickle=False) as file:
                found = cls(file["labels"], file["features"], str(file["key"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None  # it is computed again
        return found if found.key == key else None

    def write(self, path: Path) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, labels=self.labels, features=self.features, key=np.array(self.key))
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, buffer.getbuffer())
