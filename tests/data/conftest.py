"""Images and folders that the tests of ``data`` make for themselves."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Keep verdicts on files apart from the user's, and from those of other tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a smooth image with four different corners, uint8 ``[height, width, 3]``."""
    y, x = np.mgrid[0 : max(height - 1, 1) : height * 1j, 0 : max(width - 1, 1) : width * 1j]
    y, x = y / max(height - 1, 1), x / max(width - 1, 1)
    rng = np.random.default_rng(seed)
    a, b, c = rng.uniform(0.6, 1.0, 3)
    colours = np.stack([255 * a * x, 255 * b * y, 255 * c * (1 - x) * (1 - y)], -1)
    return colours.round().astype(np.uint8)


def encode(image: np.ndarray | Image.Image, format: str = "JPEG", **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = BytesIO()
    image.save(stream, format, **({"quality": 95} if format == "JPEG" else {}) | options)
    return stream.getvalue()


@pytest.fixture
def photos(tmp_path) -> Path:
    """Twenty JPEGs of each of three classes, one folder per class."""
    for c, name in enumerate(("cat", "dog", "owl")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(20):
            (folder / f"{i:02}.jpg").write_bytes(encode(picture(40 + i, 60, 100 * c + i)))
    return tmp_path / "photos"
