"""Every file gives the right pixels, upright, or an error that names the file."""

import pickle
import struct
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from senet.data.decode import ImageError, _formats, decode, form_of, open_picture
from tests.data.conftest import encode, picture


def as_pillow(data: bytes, mode: str = "RGB") -> torch.Tensor:
    from io import BytesIO

    pixels = np.array(ImageOps.exif_transpose(Image.open(BytesIO(data))).convert(mode))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)


def distance(a: torch.Tensor, b: torch.Tensor) -> int:
    assert a.shape == b.shape, (a.shape, b.shape)
    return int((a.int() - b.int()).abs().max())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_every_format_has_pillows_pixels(format, channels):
    data = encode(picture(37, 53), format)
    image = decode(data, channels)
    assert image.dtype == torch.uint8
    assert image.shape == (channels, 37, 53)
    assert distance(image, as_pillow(data, "RGB" if channels == 3 else "L")) <= 2


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_is_upright(format, orientation):
    image = Image.fromarray(picture(24, 40))
    exif = image.getexif()
    exif[0x0112] = orientation
    data = encode(image, format, exif=exif)
    opened = open_picture(data)
    assert (opened.height, opened.width) == ((24, 40) if orientation < 5 else (40, 24))
    assert distance(decode(data), as_pillow(data)) <= 2
    if orientation > 1:
        assert not decode(data).equal(decode(encode(image, format)))


def test_minimum_size_is_of_the_upright_image():
    image = Image.fromarray(picture(400, 800))
    exif = image.getexif()
    exif[0x0112] = 6
    pixels = decode(encode(image, exif=exif), 3, min_height=200, min_width=30)
    assert pixels.shape == (3, 200, 100)


def test_broken_exif_is_no_reason_to_refuse():
    data = encode(picture(24, 40), exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff")
    assert decode(data).shape == (3, 24, 40)


def test_smaller_is_decoded_smaller_but_never_below_the_minimum():
    data = encode(picture(800, 1200))
    assert decode(data, 3, 100, 100).shape == (3, 100, 150)
    assert decode(data, 3, 101, 100).shape[1] >= 101
    assert decode(data, 3, 0, 0).shape == (3, 800, 1200)
    assert decode(data, 3, 5000, 5000).shape == (3, 800, 1200)


@pytest.mark.parametrize(
    ("mode", "format"),
    [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("L", "JPEG"), ("L", "PNG"), ("1", "PNG"), ("P", "PNG"),
     ("P", "GIF"), ("RGBA", "PNG"), ("LA", "PNG"), ("YCbCr", "JPEG"), ("LAB", "TIFF")],
)  # fmt: skip
def test_modes_become_rgb_and_grey(mode, format):
    # Pillow alone cannot convert to LAB; its bytes are taken as they are.
    rgb = Image.fromarray(picture(30, 20))
    image = rgb.convert(mode) if mode != "LAB" else Image.frombytes("LAB", (20, 30), rgb.tobytes())
    data = encode(image, format)
    colour = decode(data)
    assert colour.shape == (3, 30, 20)
    assert decode(data, 1).shape == (1, 30, 20)
    if mode == "CMYK":
        assert distance(colour, as_pillow(encode(picture(30, 20), "PNG"))) <= 24


def test_transparency_lies_on_white():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (255, 0, 0, 255)
    rgba[0, 1] = (0, 0, 0, 128)
    for format in ("PNG", "WEBP", "TIFF"):
        image = decode(encode(rgba, format, **({"lossless": True} if format == "WEBP" else {})))
        assert image[:, 0, 0].tolist() == [255, 0, 0]
        assert image[:, 0, 1].tolist() == [127, 127, 127]
        assert image[:, 1, 1].tolist() == [255, 255, 255]


def test_a_palette_with_a_transparency_for_each_colour_lies_on_white():
    image = Image.new("P", (3, 1))
    image.putpalette([0, 0, 0, 10, 20, 30, 200, 100, 0])
    for x in range(3):
        image.putpixel((x, 0), x)
    found = decode(encode(image, "PNG", transparency=bytes([0, 128, 255])))[:, 0].T.tolist()
    assert found == [[255, 255, 255], [132, 137, 142], [200, 100, 0]]


def test_transparent_palette_and_colour_key_lie_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((1, 0), 1)
    assert decode(encode(image, "PNG", transparency=0))[:, 0].tolist() == [
        [255, 10], [255, 20], [255, 30],
    ]  # fmt: skip
    key = Image.new("RGB", (2, 1), (1, 2, 3))
    key.putpixel((1, 0), (9, 8, 7))
    assert decode(encode(key, "PNG", transparency=(1, 2, 3)))[0, 0].tolist() == [255, 9]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_grey_of_16_bits_keeps_its_range(format):
    values = np.array([[0, 257, 128 * 257, 65535, 128, 129]], np.uint16)
    image = decode(encode(Image.fromarray(values), format), 1)
    assert image.flatten().tolist() == [0, 1, 128, 255, 0, 1]


def test_grey_of_16_bits_may_be_white_at_zero_or_big_endian():
    values = np.array([[0, 65535, 257]], np.uint16)
    white_at_zero = encode(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    assert decode(white_at_zero, 1).flatten().tolist() == [255, 0, 254]
    big = b"MM\x00\x2a" + struct.pack(">I", 14) + values.astype(">u2").tobytes()
    tags = {256: 3, 257: 1, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 6}
    entries = [struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items()]
    data = big + struct.pack(">H", len(tags)) + b"".join(entries) + bytes(4)
    assert decode(data, 1).flatten().tolist() == [0, 255, 1]


@pytest.mark.parametrize("colours", [3, 4])
def test_colours_of_16_bits_keep_their_range(colours):
    """A TIFF of one strip, written by hand: Pillow writes none with 16 bits per colour."""
    values = np.array([[[0, 65535, 32896], [257, 256, 65280]]], "<u2")
    values = np.concatenate([values, np.full((1, 2, 1), 65535, "<u2")], 2)[..., :colours]
    pixels = values.tobytes()
    bits = struct.pack("<" + "H" * colours, *[16] * colours)
    at = 8 + len(pixels)
    entries = {256: (3, 1, 2), 257: (3, 1, 1), 258: (3, colours, at), 259: (3, 1, 1),
               262: (3, 1, 2), 273: (4, 1, 8), 277: (3, 1, colours), 278: (3, 1, 1),
               279: (4, 1, len(pixels)), **({338: (3, 1, 2)} if colours == 4 else {})}  # fmt: skip
    body = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in entries.items())
    start = at + len(bits)
    data = b"II\x2a\x00" + struct.pack("<I", start) + pixels + bits
    image = decode(data + struct.pack("<H", len(entries)) + body + bytes(4))
    assert (image[:, 0, 0].int() - torch.tensor([0, 255, 128])).abs().max() <= 1
    assert (image[:, 0, 1].int() - torch.tensor([1, 1, 254])).abs().max() <= 1


def test_transparent_grey_of_16_bits_lies_on_white():
    values = np.array([[1000, 65535, 0]], np.uint16)
    data = encode(Image.fromarray(values), "PNG", transparency=1000)
    assert decode(data, 1).flatten().tolist() == [255, 255, 0]


def test_of_several_pages_the_first_and_their_number(tmp_path):
    pages = [Image.new("I;16", (8, 8), value) for value in (257 * 10, 257 * 20, 257 * 30)]
    file = tmp_path / "scan.tif"
    pages[0].save(file, save_all=True, append_images=pages[1:])
    assert decode(file, 1).flatten().tolist() == [10] * 64
    assert (form_of(file).format, form_of(file).frames) == ("TIFF", 3)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_grey_of_32_bits_is_refused(dtype):
    data = encode(Image.fromarray(np.array([[0, 1 << 20]], dtype)), "TIFF")
    with pytest.raises(ImageError, match="no agreed black and white"):
        decode(data)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame(format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert decode(data)[:, 4, 4].tolist() == [255, 0, 0]


def test_of_a_phones_double_picture_the_first():
    data = encode(
        Image.new("L", (8, 8), 40), "MPO", save_all=True, append_images=[Image.new("L", (8, 8))]
    )
    assert decode(data, 1).flatten().tolist() == [40] * 64


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("shape", [(1, 200), (200, 1), (1, 1)])
def test_one_pixel_thin(format, shape):
    assert decode(encode(picture(*shape), format)).shape == (3, *shape)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000"])
def test_truncated(tmp_path, format):
    rng = np.random.default_rng(0)
    data = encode(rng.integers(0, 256, (64, 64, 3), np.uint8), format)
    file = tmp_path / "half.img"
    for keep in (len(data) // 2, 20):
        file.write_bytes(data[:keep])
        with pytest.raises(ImageError, match=r"half\.img: ."):
            decode(file)


def test_truncated_jpeg_is_found_at_an_eighth_of_the_size():
    data = encode(picture(400, 600))
    with pytest.raises(ImageError, match=r"[Pp]remature end"):
        decode(data[: len(data) * 9 // 10], 3, 1, 1)


def test_damaged_png():
    data = bytearray(encode(picture(64, 64), "PNG"))
    data[len(data) // 2] ^= 255
    with pytest.raises(ImageError):
        decode(bytes(data))


def test_stray_bytes_in_a_jpeg_are_what_every_viewer_ignores():
    data = encode(picture(64, 64))
    scan = data.index(b"\xff\xda")
    stray = data[:scan] + b"\x00\x01\x02" + data[scan:]
    assert decode(stray).equal(decode(data))


def test_not_an_image(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("milk, eggs")
    with pytest.raises(ImageError, match=r"notes\.txt: not an image in a format known here \(JPEG"):
        decode(file)
    file.write_bytes(b"")
    with pytest.raises(ImageError, match="the file is empty"):
        decode(file)
    with pytest.raises(ImageError, match="an image: the file is empty"):
        decode(b"")
    with pytest.raises(ImageError, match="there is no such file"):
        decode(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="this is a folder"):
        decode(tmp_path)


HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)


def test_heic_without_the_extra_says_what_to_do(monkeypatch):
    without = tuple(name for name in _formats() if name != "HEIF")
    monkeypatch.setattr(sys.modules[ImageError.__module__], "_formats", lambda: without)
    with pytest.raises(ImageError, match=r"pip install 'senet\[heif\]'; or convert it to JPEG"):
        decode(HEIC)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_upright(orientation):
    pytest.importorskip("pillow_heif")
    image = Image.fromarray(picture(48, 80))
    exif = image.getexif()
    exif[0x0112] = orientation
    assert "HEIF" in _formats()  # which registers the plugin
    data = encode(image, "HEIF", exif=exif.tobytes(), quality=95)
    opened = open_picture(data)
    assert (opened.height, opened.width) == ((48, 80) if orientation < 5 else (80, 48))
    want = as_pillow(encode(image, "PNG", exif=exif))
    assert (decode(data).float() - want.float()).abs().mean() < 3
    assert decode(data, 1).shape[0] == 1


def test_damaged_heic_is_named():
    pytest.importorskip("pillow_heif")
    with pytest.raises(ImageError, match=r"an image: ."):
        decode(HEIC)


def test_postscript_is_not_run():
    with pytest.raises(ImageError, match="not an image in a format known here"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")


def png_bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(10**6))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def jpeg_bomb() -> bytes:
    data = bytearray(encode(picture(16, 16)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    return bytes(data)


@pytest.mark.parametrize("bomb", [png_bomb, jpeg_bomb])
def test_decompression_bomb(bomb):
    with pytest.raises(ImageError, match=r"refused as a decompression bomb.*3600000000 pixels"):
        decode(bomb())


def test_channels():
    with pytest.raises(ValueError, match="not 4"):
        decode(encode(picture(8, 8)), 4)


def test_error_survives_the_way_out_of_a_worker():
    error = pickle.loads(pickle.dumps(ImageError("a.jpg: torn", "torn")))
    assert str(error) == "a.jpg: torn"
    assert error.reason == "torn"
