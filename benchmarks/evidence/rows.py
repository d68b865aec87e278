"""Where the records of the trainings are, and how they hold which test images were right."""

from __future__ import annotations

import base64

import numpy as np

from benchmarks import record

RECORDS = record.RESULTS / "evidence"


def packed(right: np.ndarray) -> str:
    """Return which test images were right, as text with one bit per image.

    Example:
        >>> unpacked(packed(np.array([True, False, True])), 3)
        array([ True, False,  True])
    """
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpacked(text: str, images: int) -> np.ndarray:
    """Return the booleans of :func:`packed`, ``[images]``."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))
    return bits[:images].astype(bool)
