"""Small copies of images for pages that fetch nothing."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

SIDE = 96
"""Longest side in pixels."""


def thumbnail(pixels: np.ndarray) -> tuple[str, bool]:
    """Return an image as a data URI, and whether it is small enough to show its pixels.

    Photos are scaled down and saved as JPEG; images that are small already stay exactly as they
    are, as PNG.

    Args:
        pixels: uint8 ``[H, W, C]``, C being 1 or 3.

    Example:
        >>> uri, small = thumbnail(np.zeros((8, 8, 1), np.uint8))
        >>> uri[:22], small
        ('data:image/png;base64,', True)
    """
    picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    small = max(pixels.shape) < SIDE
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    if small:
        picture.save(file, "png", optimize=True)
    else:
        picture.save(file, "jpeg", quality=85)
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{'png' if small else 'jpeg'};base64,{encoded}", small
