"""Encoded images to uint8 tensors: JPEG by simplejpeg, everything else by Pillow.

Pillow reads the header in every case: it names the format, refuses decompression bombs and finds
the EXIF orientation. The pixels of a JPEG then come from simplejpeg, in a third to four fifths of
Pillow's time, and can come at 1/2, 1/4 or 1/8 of their size for less.

Whatever the file holds, the result is ``[C, H, W]`` in 0 … 255, upright as the camera was held,
with ``C`` 1 (grey) or 3 (RGB): palettes are looked up, CMYK is converted, 16-bit grey is divided by
257, transparency is blended with white, and only the first frame of an animation or page of a TIFF
is used. HEIF, as phones write it, needs pillow-heif: ``senet[heif]``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from senet.cache import name_of

if TYPE_CHECKING:
    from PIL import Image

# Formats that are named in their first bytes and decoded without a helper program (EPS
# would start Ghostscript). MPO is what phones write for a JPEG with a second picture behind it.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "HEIF")

# Messages of libjpeg about lost picture data. Its other complaints (stray bytes between segments,
# odd but readable headers) leave a picture that every viewer shows, and so does Pillow.
DAMAGE = ("premature end", "bad huffman code", "bad arithmetic code", "inconsistent progression")

ORIENTATION = 0x0112  # the EXIF tag
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # the TIFF tag, and one of its values


class ImageError(ValueError):
    """The error for an image that cannot be used; its message is the file's name and ``reason``.

    Example:
        >>> try:
        ...     decode(b"GIF8, but then nothing of the kind")
        ... except ImageError as error:
        ...     print(error.reason)
        not an image in a format known here (JPEG, PNG, WEBP, AVIF, GIF, BMP, TIFF, JPEG2000...)
    """

    def __init__(self, message: str, reason: str = "") -> None:
        # One required argument, as a DataLoader needs it to raise a worker's error again.
        super().__init__(message)
        self.reason = reason or message


@dataclass(frozen=True)
class Form:
    """How an image file is written.

    Attributes:
        format: its format, such as ``"JPEG"``.
        frames: pages or frames in it, of which the first is used.
        transparent: whether it has transparency, which is laid on white.
    """

    format: str
    frames: int = 1
    transparent: bool = False


class Picture:
    """An image of known size, which the transforms take; here its pixels are a tensor already.

    Attributes:
        height: height of the upright image in pixels.
        width: width, likewise.
    """

    def __init__(self, pixels: Tensor) -> None:
        self.height, self.width = pixels.shape[-2:]
        self._pixels = pixels

    def pixels(self, min_height: int = 0, min_width: int = 0) -> Tensor:
        """Return the image, uint8 ``[C, H, W]``: whole, or smaller if that is cheaper to decode.

        A smaller one is never below ``min_height`` by ``min_width``; zeros ask for the whole image.
        """
        return self._pixels


class JpegPicture(Picture):
    """A JPEG that is decoded when it is needed, and no larger than needed."""

    def __init__(
        self, data: bytes, channels: int, height: int, width: int, orientation: int, name: str
    ) -> None:
        self._data, self._channels, self._orientation, self._name = (
            data,
            channels,
            orientation,
            name,
        )
        self._sideways = orientation >= 5
        self.height, self.width = (width, height) if self._sideways else (height, width)

    def pixels(self, min_height: int = 0, min_width: int = 0) -> Tensor:
        if self._sideways:
            min_height, min_width = min_width, min_height
        with _naming(self._name):
            pixels = self._decode(min_height, min_width)
        return upright(pixels, self._orientation)

    def _decode(self, min_height: int, min_width: int) -> Tensor:
        from PIL import Image
        from simplejpeg import decode_jpeg

        colorspace = "GRAY" if self._channels == 1 else "RGB"
        try:
            pixels = decode_jpeg(self._data, colorspace, min_height=min_height, min_width=min_width)
        except ValueError as error:
            if any(damage in str(error).lower() for damage in DAMAGE):
                raise
            with Image.open(BytesIO(self._data), formats=_formats()) as image:
                return _pixels(image, self._channels)
        return torch.from_numpy(pixels).permute(2, 0, 1)


def decode(
    file: str | Path | bytes, channels: int = 3, min_height: int = 0, min_width: int = 0
) -> Tensor:
    """Return the image in ``file``, upright, as a tensor.

    Args:
        file: a path, or the encoded bytes themselves.
        channels: 3 for RGB or 1 for grey.
        min_height: with ``min_width``, a sufficient size in pixels: a JPEG is then decoded at the
            smallest of 1/1, 1/2, 1/4, 1/8 … that is not below it. 0 asks for the whole image.
        min_width: see ``min_height``.

    Returns:
        uint8 ``[C, H, W]``.

    Raises:
        ImageError: if this is not an image, or a damaged, truncated or excessively large one.

    Example:
        >>> from io import BytesIO
        >>> from PIL import Image
        >>> file = BytesIO()
        >>> Image.new("CMYK", (640, 480)).save(file, "JPEG")
        >>> decode(file.getvalue()).shape
        torch.Size([3, 480, 640])
    """
    return open_picture(file, channels).pixels(min_height, min_width)


def open_picture(file: str | Path | bytes, channels: int = 3, name: str = "") -> Picture:
    """Return the image in ``file`` with its size; the pixels of a JPEG are not decoded yet.

    Args:
        file: a path, or the encoded bytes themselves.
        channels: 3 for RGB or 1 for grey.
        name: its name in errors, where ``file`` is not a path.

    Raises:
        ImageError: as for :func:`decode`; for a JPEG, damage shows when the pixels are asked for.
    """
    if channels not in (1, 3):
        raise ValueError(f"an image is decoded to 1 channel (grey) or 3 (RGB), not {channels}")
    from PIL import Image

    name = name or ("an image" if isinstance(file, bytes) else str(file))
    with (
        _naming(name, file),
        Image.open(BytesIO(file) if isinstance(file, bytes) else file, formats=_formats()) as image,
    ):
        if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
            data = file if isinstance(file, bytes) else Path(file).read_bytes()
            return JpegPicture(data, channels, image.height, image.width, _orientation(image), name)
        image.load()  # a TIFF turns itself here, and takes the tag away
        return Picture(upright(_pixels(image, channels), _orientation(image)))


def form_of(file: str | Path) -> Form:
    """Return how an image file is written, from its header. Raise as :func:`open_picture`."""
    from PIL import Image

    with _naming(str(file), file), Image.open(file, formats=_formats()) as image:
        if image.format in ("JPEG", "MPO"):  # the second picture of a phone is no page
            return Form("JPEG")
        frames = getattr(image, "n_frames", 1)
        return Form(image.format or "", frames, image.has_transparency_data)


def is_image(file: str | Path) -> bool:
    """Return whether the first bytes of a file are those of an image, whatever its name.

    A file that cannot be opened may be an image: reading its pixels shows what is wrong.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=_formats()):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:
        return True


def read_file(file: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        ImageError: if they cannot be read, caused by the system's own error.
    """
    with _naming(str(file), file):
        return file.read_bytes()


def upright(pixels: Tensor, orientation: int) -> Tensor:
    """Undo an EXIF orientation, 1 … 8, which says how the sensor lay when it wrote ``[C, H, W]``.

    Example:
        >>> upright(torch.tensor([[[1, 2], [3, 4]]]), 6)  # the camera was turned to the left
        tensor([[[3, 1],
                 [4, 2]]])
    """
    if orientation >= 5:
        pixels = pixels.transpose(1, 2)
    mirrored = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation)
    return pixels.flip(mirrored) if mirrored else pixels


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a broken EXIF block is no reason to refuse the picture beside it
        return 1
    return orientation if orientation in range(1, 9) else 1


def _pixels(image: Image.Image, channels: int) -> Tensor:
    """Return the pixels of a Pillow image of any mode, as stored, uint8 ``[channels, H, W]``."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_eight_bits(image))
    if image.has_transparency_data:
        sheet = Image.new("RGBA", image.size, "white")
        sheet.alpha_composite(image.convert("RGBA"))
        image = sheet
    if image.mode != "L":
        image = image.convert("RGB")  # some modes have no direct conversion to grey
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


def _eight_bits(image: Image.Image) -> np.ndarray:
    """Return grey of 16 bits as grey of 8, rounded; Pillow itself would clip it at 255.

    It also ignores, for 16 bits, that a TIFF may be white at zero and a PNG clear at one value.
    """
    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"grey of 32 bits (Pillow's mode {image.mode!r}) has no agreed black and white;"
            " save it with 8 or 16 bits per pixel"
        )
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    if isinstance(clear := image.info.get("transparency"), int):
        grey[values == clear] = 255
    return grey


@functools.cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    with suppress(ImportError):  # the extra senet[heif]
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # AVIF is not in every Pillow


@contextmanager
def _naming(name: str, file: str | Path | bytes = b"") -> Iterator[None]:
    """Turn whatever goes wrong within the context into an :class:`ImageError` with the file."""
    try:
        yield
    except Exception as error:  # on damaged files decoders raise anything
        reason = _reason(error, file)
        raise ImageError(f"{name_of(name)}: {reason}", reason) from error


def _reason(error: Exception, file: str | Path | bytes) -> str:
    from PIL import Image, UnidentifiedImageError

    match error:
        case FileNotFoundError():
            return "there is no such file"
        case IsADirectoryError():
            return "this is a folder, not an image"
        case PermissionError():
            return "permission to read it is denied"
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return (
                f"refused as a decompression bomb ({error}) If it is genuine, make it"
                " smaller, or raise PIL.Image.MAX_IMAGE_PIXELS"
            )
        case UnidentifiedImageError():
            return _unidentified(file)
        case OSError(strerror=str(what)):
            return what
    return str(error) or type(error).__name__


def _unidentified(file: str | Path | bytes) -> str:
    if isinstance(file, bytes):
        start = file[:12]
    else:
        with open(file, "rb") as stream:
            start = stream.read(12)
    if not start:
        return "the file is empty"
    if (
        "HEIF" not in _formats()
        and start[4:8] == b"ftyp"
        and start[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
    ):
        return (
            "HEIC, as phones write it, needs one more library: pip install 'senet[heif]'; or"
            " convert it to JPEG"
        )
    known = ", ".join(name for name in _formats() if name != "MPO")
    return f"not an image in a format known here ({known})"
