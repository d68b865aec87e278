"""Crops compared with Pillow, and batch operations with a loop over single images."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from senet.data import transforms as T
from senet.data.decode import Picture, open_picture
from senet.preprocessing import IMAGENET, Preprocessing
from tests.data.conftest import encode, picture

PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def tensor(array: np.ndarray | Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(array)).permute(2, 0, 1)


# --- seeds ----------------------------------------------------------------------------------------


def test_generator_depends_on_every_part_of_its_key():
    keys = [(0,), (0, 0), (0, 1), (1, 0), (1, 1), (0, 0, 1)]
    first = {tuple(torch.rand(4, generator=T.generator(*key)).tolist()) for key in keys}
    assert len(first) == len(keys)
    assert torch.rand(4, generator=T.generator(3, 4)).equal(
        torch.rand(4, generator=T.generator(3, 4))
    )


# --- per image ------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(30, 50), (200, 170), (64, 20)])
def test_resize_is_pillows(interpolation, size):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3), np.uint8)
    expected = tensor(Image.fromarray(image).resize((size[1], size[0]), PILLOW[interpolation]))
    resized = T.resize(tensor(image), size[0], size[1], interpolation)
    assert resized.dtype == torch.uint8
    assert (resized.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(480, 640), (641, 480), (224, 224), (100, 90)])
def test_evaluation_crop_is_resize_and_centre_crop(shape, interpolation):
    image = picture(*shape)
    height, width = shape
    # The same as torchvision's Resize(256) and CenterCrop(224).
    shorter = min(shape)
    new = (int(256 * height / shorter), int(256 * width / shorter))
    resized = Image.fromarray(image).resize((new[1], new[0]), PILLOW[interpolation])
    top, left = round((new[0] - 224) / 2), round((new[1] - 224) / 2)
    expected = tensor(resized.crop((left, top, left + 224, top + 224)))
    crop = T.CentreCrop(224, 0.875, interpolation)
    result = crop(Picture(tensor(image)))
    assert (result.int() - expected.int()).abs().max() <= 1


def test_evaluation_crop_of_a_preprocessing():
    assert T.CentreCrop.of(IMAGENET) == T.CentreCrop(224, 0.875, "bilinear")
    grey = Preprocessing(size=28, mean=(0.3,), std=(0.3,))
    assert T.CentreCrop.of(grey).keeps(28, 28)
    assert not T.CentreCrop.of(grey).keeps(28, 30)
    assert not T.CentreCrop(28, 0.875).keeps(28, 28)


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1), (1, 1), (2, 3)])
def test_crops_of_thin_and_tiny_images(shape):
    image = torch.randint(256, (3, *shape), dtype=torch.uint8)
    assert T.CentreCrop(32, 0.875)(Picture(image)).shape == (3, 32, 32)
    assert T.random_resized_crop(image, 32, T.generator(0)).shape == (3, 32, 32)


def test_panorama_is_cut_in_the_middle():
    image = torch.zeros(1, 2, 1000, dtype=torch.uint8)
    image[:, :, 484:516] = 255
    assert T.resize_shorter(image, 4).shape == (1, 4, 64)
    assert T.resize_shorter(image, 4).min() == 255


def test_random_box_keeps_its_ranges():
    generator = T.generator(0)
    height, width = 300, 500
    shares, shapes = [], []
    for _ in range(500):
        top, left, h, w = T.random_box(height, width, generator, (0.08, 0.5), (0.5, 2.0))
        assert 0 <= top <= height - h
        assert 0 <= left <= width - w
        shares.append(h * w / (height * width))
        shapes.append(w / h)
    assert 0.075 < min(shares) < 0.1 < 0.45 < max(shares) < 0.51
    assert 0.48 < min(shapes) < 0.55 < 1.8 < max(shapes) < 2.05
    assert np.mean(np.log(shapes)) == pytest.approx(0, abs=0.06)


def test_random_box_that_never_fits_is_the_largest_allowed():
    assert T.random_box(10, 1000, T.generator(0), (0.9, 1.0)) == T.Box(0, 493, 10, 13)
    assert T.random_box(1000, 10, T.generator(0), (0.9, 1.0)) == T.Box(493, 0, 13, 10)


def test_random_resized_crop_shows_its_box():
    image = picture(120, 160)
    top, left, h, w = T.random_box(120, 160, T.generator(7))
    expected = tensor(
        Image.fromarray(image[top : top + h, left : left + w]).resize(
            (48, 48), Image.Resampling.BILINEAR
        )
    )
    result = T.random_resized_crop(tensor(image), 48, T.generator(7))
    assert (result.int() - expected.int()).abs().max() <= 1


def test_random_resized_crop_of_a_smaller_decoded_jpeg():
    data = encode(picture(1600, 2400))
    crop = T.RandomResizedCrop(64)
    asked = []

    class Watched(Picture):
        def pixels(self, min_height=0, min_width=0):
            pixels = source.pixels(min_height, min_width)
            asked.append(pixels.shape[-1])
            return pixels

    for seed in range(8):
        source = open_picture(data)
        whole = Picture(source.pixels())
        expected = crop(whole, T.generator(seed)).int()
        result = crop(Watched(whole.pixels()), T.generator(seed)).int()
        assert (result - expected).abs().float().mean() < 1.5
    assert min(asked) < 1200  # at least some were decoded at less than half their size
    assert all(width > 64 for width in asked)


def test_crop_settings_are_checked():
    with pytest.raises(ValueError, match="scale"):
        T.RandomResizedCrop(32, scale=(0.0, 1.0))
    with pytest.raises(ValueError, match="ratio"):
        T.RandomResizedCrop(32, ratio=(2.0, 1.0))


# --- per batch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(16, 1, 28, 28), (16, 3, 12, 9), (0, 3, 8, 8)])
def test_random_crop_is_a_window_of_the_padded_image(shape, layout):
    images = torch.randint(1, 256, shape, dtype=torch.uint8).contiguous(memory_format=layout)
    cropped = T.random_crop(images, 2, T.generator(1))
    assert cropped.shape == images.shape
    assert cropped.dtype == torch.uint8
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    H, W = shape[-2:]
    used = set()
    for image, result in zip(padded, cropped, strict=True):
        matches = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if image[:, top : top + H, left : left + W].equal(result)
        ]
        assert len(matches) == 1
        used.update(matches)
    assert len(used) >= len(images) / 4  # each its own shift


def test_random_crop_reaches_every_shift_equally():
    images = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3).expand(9000, 1, 3, 3)
    centre = T.random_crop(images, 1, T.generator(0))[:, 0, 1, 1].long()
    counts = centre.bincount(minlength=10)[1:]
    assert counts.min() > 850
    assert counts.max() < 1150


def test_random_flip():
    images = torch.randint(256, (1000, 1, 2, 5), dtype=torch.uint8)
    flipped = T.random_flip(images, T.generator(0))
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert (mirrored | same).all()
    assert 400 < mirrored.sum() < 600
    assert T.random_flip(images, T.generator(0), probability=1.0).equal(images.flip(-1))
    assert T.random_flip(images, T.generator(0), probability=0.0).equal(images)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_normalise(channels_last, dtype):
    images = torch.randint(256, (4, 3, 6, 5), dtype=torch.uint8)
    before = images.clone()
    mean, std = IMAGENET.mean, IMAGENET.std
    result = T.normalise(images, mean, std, dtype, channels_last)
    as_map = torch.tensor([mean, std], dtype=torch.float64)[:, :, None, None]
    expected = (images.double() / 255 - as_map[0]) / as_map[1]
    assert result.dtype == dtype
    assert result.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert (result.double() - expected).abs().max() <= 4 * torch.finfo(dtype).eps
    assert images.equal(before)


def test_normalise_names_the_channels():
    with pytest.raises(ValueError, match="images of 3 channels, but mean and std of 1"):
        T.normalise(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), (0.5,), (0.5,))


def test_mixup_blends_images_and_labels_alike():
    # Images that show their own class as a one-hot vector: blended, they must equal their label.
    labels = torch.arange(8) % 4
    images = torch.nn.functional.one_hot(labels, 4).float()[:, :, None, None].expand(8, 4, 3, 3)
    mixed, soft = T.mixup(images, labels, 4, 1.0, T.generator(0))
    assert torch.allclose(mixed[:, :, 1, 1], soft, atol=1e-6)
    assert torch.allclose(soft.sum(1), torch.ones(8))
    assert ((soft > 0.01) & (soft < 0.99)).any()


def test_mixup_needs_normalised_images():
    with pytest.raises(ValueError, match="normalise"):
        T.mixup(
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2).long(), 2, 1, T.generator(0)
        )


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_labels_are_areas(seed):
    labels = torch.arange(8) % 4
    images = torch.nn.functional.one_hot(labels, 4).byte()[:, :, None, None].expand(8, 4, 10, 14)
    mixed, soft = T.cutmix(images, labels, 4, 1.0, T.generator(seed))
    assert mixed.dtype == torch.uint8
    assert torch.allclose(mixed.float().mean((2, 3)), soft, atol=1e-6)
    box = (mixed != images).any(1).any(0)  # where anything changed at all: one rectangle
    rows, columns = box.any(1), box.any(0)
    assert box.equal(rows[:, None] & columns[None, :])


def test_mixing_shares_are_beta():
    def share(seed: int, alpha: float) -> float:
        labels = torch.tensor([0, 1])
        for step in range(100):  # until the two have been swapped
            _, soft = T.mixup(torch.zeros(2, 1, 1, 1), labels, 2, alpha, T.generator(seed, step))
            if soft[0, 1]:
                return soft[0, 0].item()
        raise AssertionError("never swapped")

    even = np.array([share(seed, 1.0) for seed in range(300)])
    peaked = np.array([share(seed, 20.0) for seed in range(100)])
    assert even.std() == pytest.approx(math.sqrt(1 / 12), abs=0.03)
    assert peaked.std() == pytest.approx(math.sqrt(1 / (4 * 41)), abs=0.02)


@pytest.mark.parametrize("mix", [T.mixup, T.cutmix])
def test_alpha_must_be_positive(mix):
    with pytest.raises(ValueError, match="leave the mixing out"):
        mix(torch.zeros(2, 1, 2, 2), torch.zeros(2).long(), 2, 0.0, T.generator(0))


@pytest.mark.parametrize(
    "augment",
    [
        lambda images, labels, g: T.random_crop(images, 4, g),
        lambda images, labels, g: T.random_flip(images, g),
        lambda images, labels, g: torch.cat(
            [t.flatten() for t in T.mixup(images, labels, 10, 1, g)]
        ),
        lambda images, labels, g: torch.cat(
            [t.flatten() for t in T.cutmix(images, labels, 10, 1, g)]
        ),
    ],
)
def test_twins_see_the_same(augment):
    images, labels = torch.rand(16, 3, 8, 8), torch.randint(10, (16,))
    state = torch.get_rng_state()
    first = augment(images, labels, T.generator(5, 2))
    assert torch.get_rng_state().equal(state), "drew from PyTorch's global numbers"
    assert first.equal(augment(images, labels, T.generator(5, 2)))
    assert not first.equal(augment(images, labels, T.generator(5, 3)))
