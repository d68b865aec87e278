"""Images that are nearly alike: the same photo saved again, smaller, brighter, or in grey.

Two steps, since neither is enough alone. A perceptual hash of 63 bits finds candidates among all
pairs: the signs of the lowest frequencies of a small grey copy, which saving, scaling and another
brightness hardly change (the DCT hash of Zauner, *Implementation and Benchmarking of Perceptual
Image Hash Functions*, 2010). But so few bits also agree for different pictures of one composition,
such as any two trousers on white. So candidates are compared by their details: the correlation of
their small copies, less what a blur leaves of each.

Not found: mirrored or turned copies, and crops of more than about 2 % of a side. Colours are not
compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

SIDE = 32
"""Side of the small copies in pixels."""
LOWEST = 8
"""Frequencies of the hash along each axis; the mean brightness is not among them."""
MOST_BITS = 10
"""Bits in which the hashes of candidates may differ. Two unrelated photos differ in about 32."""
BLUR = 2.0
"""Standard deviation of the blur in pixels of the small copy."""
LEAST = 0.93
"""Least correlation of the details of images that count as alike."""
CHUNK = 1024


def small_copy(pixels: torch.Tensor) -> np.ndarray:
    """Return a small grey copy, uint8 ``[32, 32]``, of an image, uint8 ``[C, H, W]``.

    The sides need not be equal: the copy of a wide image is squeezed.
    """
    image = pixels.permute(1, 2, 0).numpy()
    picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
    grey = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("L")
    return np.asarray(grey)


def hashes(copies: np.ndarray) -> np.ndarray:
    """Return the perceptual hashes of small copies ``[n, 32, 32]``: signs, float32 ``[n, 63]``.

    Example:
        >>> ramp = np.tile(np.arange(32, dtype=np.uint8), (1, 32, 1))
        >>> (hashes(ramp) == hashes(ramp * 3 + 20)).all()  # another brightness and contrast
        np.True_
    """
    frequencies = np.asarray(dctn(copies.astype(np.float32), axes=(1, 2), norm="ortho"))
    lowest = frequencies[:, :LOWEST, :LOWEST].reshape(len(copies), LOWEST * LOWEST)[:, 1:]
    # What is zero but for rounding, as in flat or symmetric images, has one sign.
    return np.where(lowest > 1e-3, np.float32(1), np.float32(-1))


def alike(copies: np.ndarray, least: float = LEAST) -> list[tuple[int, int, float]]:
    """Return the pairs of images that are nearly alike, the most alike first.

    Time grows with the square of the number of images: all pairs of hashes are compared.

    Args:
        copies: small copies, uint8 ``[n, 32, 32]``, see :func:`small_copy`.
        least: least correlation of the details of a pair.

    Returns:
        ``(i, j, correlation)`` with i < j. Images without any detail are like no other.
    """
    pairs = []
    for one, other in _candidates(hashes(copies)):
        likeness = np.einsum("nd,nd->n", _details(copies[one]), _details(copies[other]))
        for k in np.flatnonzero(likeness >= least).tolist():
            pairs.append((int(one[k]), int(other[k]), min(1.0, float(likeness[k]))))
    return sorted(pairs, key=lambda pair: (-pair[2], *pair[:2]))


def _candidates(signs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pairs whose hashes differ in few bits, chunk by chunk."""
    wanted = signs.shape[1] - 2 * MOST_BITS
    for start in range(0, len(signs), CHUNK):
        agreement = signs[start : start + CHUNK] @ signs[start:].T
        one, other = np.nonzero(agreement >= wanted)
        later = other > one
        one, other = one[later] + start, other[later] + start
        for at in range(0, len(one), CHUNK):
            yield one[at : at + CHUNK], other[at : at + CHUNK]


def _details(copies: np.ndarray) -> np.ndarray:
    """Return what is finer than the blur, of mean 0 and length 1: ``[n, 1024]``."""
    values = copies.astype(np.float32)
    fine = (values - gaussian_filter(values, (0, BLUR, BLUR))).reshape(len(copies), SIDE * SIDE)
    fine -= fine.mean(1, keepdims=True)
    length = np.linalg.norm(fine, axis=1, keepdims=True)
    return np.where(length > SIDE, fine / np.maximum(length, 1e-9), 0)  # flat but for noise: 0
