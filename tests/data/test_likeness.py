"""Near duplicates are found, and different pictures of one composition are not."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy.fft import idctn
from scipy.ndimage import gaussian_filter

from senet.data import open_source
from senet.data.likeness import MOST_BITS, alike, hashes, small_copy
from tests.data.conftest import encode

CIFAR = Path("/work/shared/data/cifar10")


def scene(seed, side=96):
    """Return a picture with structure at every scale, as photos have it."""
    noise = np.random.default_rng(seed).standard_normal((side, side, 3))
    layers = [gaussian_filter(noise, (width, width, 0)) * width for width in (1, 2, 4, 8, 16)]
    values = sum(layers)
    return Image.fromarray(np.clip(128 + 60 * values / values.std(), 0, 255).astype(np.uint8))


def copy_of(image):
    pixels = np.array(image)
    return small_copy(torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1))


def copies_of(images):
    return np.stack([copy_of(image) for image in images])


CHANGES = {
    "saved again": lambda image: Image.open(BytesIO(encode(image, quality=40))),
    "half the size": lambda image: image.resize((48, 48), Image.Resampling.BICUBIC),
    "twice the size": lambda image: image.resize((192, 192), Image.Resampling.BICUBIC),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "of less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_others(change):
    scenes = [scene(seed) for seed in range(40)]
    pairs = alike(copies_of([*scenes, *map(CHANGES[change], scenes)]))
    assert {(i, j) for i, j, _ in pairs} == {(i, i + 40) for i in range(40)}
    assert all(0.93 <= likeness <= 1 for *_, likeness in pairs)


def test_many_images_are_compared_across_chunks():
    scenes = copies_of([scene(seed, 32) for seed in range(60)])
    noise = np.random.default_rng(0).integers(0, 256, (2000, 32, 32), np.uint8)
    pairs = alike(np.concatenate([scenes, noise, scenes[::-1]]))
    assert {(i, j) for i, j, _ in pairs} == {(i, 2119 - i) for i in range(60)}


def test_images_without_detail_are_like_no_other():
    flat = np.stack([np.full((32, 32), value, np.uint8) for value in (0, 255, 255)])
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (2, 32, 1))
    assert alike(np.concatenate([flat, ramp[:1]])) == []
    assert alike(np.empty((0, 32, 32), np.uint8)) == []


def test_one_composition_with_other_details_is_not_alike():
    """As two patterned dresses on white: the hashes agree, the details do not."""
    rng = np.random.default_rng(0)
    lowest = np.zeros((32, 32))
    lowest[:8, :8] = 60 * rng.choice([-1, 1], (8, 8))
    finer = 20 * rng.standard_normal((2, 32, 32))
    finer[:, :8, :8] = 0
    copies = (128 + idctn(lowest + finer, axes=(1, 2), norm="ortho")).clip(0, 255).astype(np.uint8)
    signs = hashes(copies)
    assert (signs[0] != signs[1]).sum() <= MOST_BITS
    assert alike(copies) == []


def test_few_of_the_bundled_products_are_alike():
    """Hard: grey products of 28 pixels, many of one outline."""
    train = open_source("fashion-mnist").train
    copies = np.stack([small_copy(train[i][0]) for i in range(0, 9000, 3)])
    pairs = alike(copies)
    assert len({i for pair in pairs for i in pair[:2]}) < 0.02 * 3000
    again = alike(np.concatenate([copies[:100], copies[:100]]))
    assert {(i, i + 100) for i in range(100)} <= {(i, j) for i, j, _ in again}


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR.is_dir(), reason="CIFAR-10 is development data, and not here")
def test_photos():
    sheet = Image.open(CIFAR / "test_batch.webp").convert("RGB").crop((0, 0, 3200, 640))
    photos = [
        sheet.crop((x, y, x + 32, y + 32)).resize((96, 96), Image.Resampling.BICUBIC)
        for y in range(0, 640, 32)
        for x in range(0, 3200, 32)
    ]
    copies = copies_of(photos)
    assert len(alike(copies)) <= 5  # CIFAR has true near duplicates
    for change in CHANGES.values():
        found = alike(np.concatenate([copies[:500], copies_of(map(change, photos[:500]))]))
        assert len({(i, i + 500) for i in range(500)} & {(i, j) for i, j, _ in found}) > 0.95 * 500
