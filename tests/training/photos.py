"""A folder of the plainest photos, with one folder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def photo_folder(path: Path, **counts: int) -> Path:
    """``photo_folder(path, cat=3)``: photos of noise whose brightness tells the class."""
    for number, (name, count) in enumerate(counts.items()):
        (path / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            add_photo(path / name / f"{i}.png", number / len(counts), seed=i)
    return path


def add_photo(file: Path, brightness: float, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 60, (20, 24, 3))
    Image.fromarray((180 * brightness + noise).astype(np.uint8)).save(file)
