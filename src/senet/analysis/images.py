"""The test images of a run, reopened to run them through a network and to show some of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from senet.data import Split, loader
from senet.data.transforms import CentreCrop, normalise
from senet.figures.thumbnail import SIDE, thumbnail
from senet.preprocessing import Preprocessing
from senet.runs.images import opened

BATCH = 64


class TestImages:
    """The test split of a run, in the order of its predictions."""

    __test__ = False  # pytest would collect a class of this name

    def __init__(self, split: Split) -> None:
        self.split = split

    def spread(self, most: int) -> np.ndarray:
        """Return the indices of at most ``most`` images, evenly spaced."""
        n = len(self.split)
        return np.arange(n) if n <= most else np.linspace(0, n - 1, most).astype(np.int64)

    def batches(
        self, indices: np.ndarray, preprocessing: Preprocessing
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield these images as a network takes them, ``[B, C, size, size]``, with their labels."""
        split = self.split.subset(indices)
        for images, labels in loader(split, BATCH, CentreCrop.of(preprocessing)):
            yield normalise(images, preprocessing.mean, preprocessing.std), labels

    def thumbnail(self, index: int) -> tuple[str, bool]:
        """Return a small copy as :func:`~senet.figures.thumbnail.thumbnail` does."""
        return thumbnail(self.split.picture(index).pixels(SIDE, SIDE).permute(1, 2, 0).numpy())


def open_test_images(config: Mapping[str, Any], labels: np.ndarray) -> TestImages | str:
    """Open the test images of a run, or return in words why they cannot be opened.

    Args:
        config: contents of ``config.json``.
        labels: labels of ``predictions.npz``, which show whether the data are still the same.
    """
    recipe, data = config["config"], config["data"]
    try:
        source = opened(recipe, data)
    except ValueError as error:
        return f"the data could not be opened ({error})."
    if not np.array_equal(source.test.labels, labels):
        return (
            f"the test images of {source.name} are no longer those of this run (their labels "
            "differ from predictions.npz)."
        )
    return TestImages(source.test)
