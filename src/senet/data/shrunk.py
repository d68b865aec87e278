"""Shrunk copies of photos in the user's cache folder, for slow disks.

A photo of a phone has megabytes, of which a network sees a few tens of kilobytes. The first epoch
reads the photos and writes the copies; all later ones, and later trainings, read only the copies.
They are upright JPEGs of quality 95 with all colours, and so differ from the photo shrunk by about
one level of 255. A copy is found by the photo's name and content, and can be deleted at any time.
"""

from __future__ import annotations

import io
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import torch
from PIL import Image

from senet import files
from senet.cache import cache_folder
from senet.data.decode import ImageError, Picture, open_picture


def shrunk(file: Path, channels: int, side: int, digest: str) -> Picture:
    """Return the copy of an image whose shorter side has so many pixels, and keep it.

    An image that is not larger is returned itself.

    Args:
        file: the image.
        channels: 3 for RGB or 1 for grey.
        side: length of the shorter side of the copy.
        digest: digest of the content of the file.

    Raises:
        ImageError: as :func:`~senet.data.decode.open_picture`.
    """
    kept = _place(file, channels, side, digest)
    with suppress(ImageError):  # there is none yet, or somebody has damaged it
        return open_picture(kept, channels)
    picture = open_picture(file, channels)
    if min(picture.height, picture.width) <= side:
        return picture
    copy = _copy(picture, side)
    stream = io.BytesIO()
    copy.save(stream, "JPEG", quality=95, subsampling=0)
    with suppress(OSError):  # the disk is full: it is made again the next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(kept, stream.getbuffer())
    return open_picture(stream.getvalue(), channels, name=str(file))


def _place(file: Path, channels: int, side: int, digest: str) -> Path:
    name = f"{digest}/{channels}/{file.name}".encode(errors="surrogateescape")
    key = blake2b(name, digest_size=12).hexdigest()
    return cache_folder() / "shrunk" / str(side) / key[:2] / f"{key}.jpg"


def _copy(picture: Picture, side: int) -> Image.Image:
    scale = side / min(picture.height, picture.width)
    size = (max(side, round(picture.width * scale)), max(side, round(picture.height * scale)))
    pixels: torch.Tensor = picture.pixels(size[1], size[0])  # of a JPEG an eighth may be enough
    image = pixels.permute(1, 2, 0).contiguous().numpy()
    whole = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
    return whole.resize(size, Image.Resampling.BICUBIC)
