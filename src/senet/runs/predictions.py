"""The predictions of a run: what its network says about images that it was not trained on."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from senet import files


@dataclass(frozen=True)
class Predictions:
    """What a network says about the test or validation images, in the order of the split.

    Attributes:
        labels: the right classes, ``[n]``.
        logits: ``[n, K]``.
    """

    labels: np.ndarray
    logits: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read what :meth:`write` wrote, unchecked.

        Raises:
            FileNotFoundError: if it is not there.
            KeyError: if an array is missing; ``numpy.load`` raises other errors for a damaged file.
        """
        with np.load(path, allow_pickle=False) as file:
            return cls(file["labels"], file["logits"])

    def write(self, path: Path) -> None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, labels=self.labels, logits=self.logits)
        files.write_bytes(path, buffer.getvalue())

    @property
    def predicted(self) -> np.ndarray:
        return self.logits.argmax(1)

    @property
    def right(self) -> np.ndarray:
        return self.predicted == self.labels

    @property
    def probabilities(self) -> np.ndarray:
        """The probabilities of all classes, ``[n, K]``."""
        shares = np.exp(self.logits - self.logits.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)

    @property
    def balanced(self) -> float | None:
        """The mean of the classes' accuracies, if they have unequally many images; else ``None``.

        Example:
            >>> said = np.eye(2, dtype=np.float32)[[0, 0, 0, 0]]
            >>> Predictions(np.array([0, 0, 0, 1]), said).balanced
            0.5
            >>> Predictions(np.array([0, 1, 0, 1]), said).balanced
        """
        counts = np.bincount(self.labels)
        there = counts > 0
        if np.ptp(counts[there]) == 0:
            return None
        right = np.bincount(self.labels, self.right)
        return float((right[there] / counts[there]).mean())

    @property
    def confidence(self) -> np.ndarray:
        """The probability of the predicted class, ``[n]``."""
        shifted = self.logits - self.logits.max(1, keepdims=True)
        return 1 / np.exp(shifted).sum(1)
