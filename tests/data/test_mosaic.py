"""Mosaics: the form, the bundled data in it, and what can be wrong with it."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from senet.data.arrays import ArraySplit
from senet.data.mosaic import open_mosaic
from senet.data.registry import BUNDLED_FOLDER
from senet.data.source import Split
from senet.paths import is_mosaic
from senet.preprocessing import Preprocessing

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent


def pixels(split: Split | None) -> torch.Tensor:
    assert isinstance(split, ArraySplit)
    return split.images


def save_mosaic(path: Path, images: np.ndarray) -> None:
    """Save tiles in reading order, 100 to a row, the last row filled up with black."""
    n, side = len(images), images.shape[1]
    rows = -(-n // 100)
    sheet = np.zeros((rows * side, 100 * side, 3), np.uint8)
    for i, image in enumerate(images):
        top, left = i // 100 * side, i % 100 * side
        sheet[top : top + side, left : left + side] = image
    Image.fromarray(sheet).save(path, lossless=True)


@pytest.fixture
def mosaics(tmp_path):
    """150 and 250 training images in files 2 and 10, 120 test images, four classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (520, 8, 8, 3), np.uint8)
    labels = np.arange(520) % 4
    save_mosaic(tmp_path / "train_2.webp", images[:200])
    save_mosaic(tmp_path / "train_10.webp", images[200:350])
    save_mosaic(tmp_path / "test.webp", images[350:470])
    classes = np.array(["ant", "bee", "cow", "doe"])
    np.savez(tmp_path / "labels.npz", train=labels[:350], test=labels[350:470], classes=classes)
    return tmp_path, images, labels


def test_tiles_come_in_order(mosaics):
    folder, images, labels = mosaics
    assert is_mosaic(folder)
    source = open_mosaic(folder, val_share=0)
    assert source.classes == ("ant", "bee", "cow", "doe")
    assert pixels(source.train).permute(0, 2, 3, 1).numpy().tolist() == images[:350].tolist()
    assert pixels(source.test).permute(0, 2, 3, 1).numpy().tolist() == images[350:470].tolist()
    assert source.train.labels.tolist() == labels[:350].tolist()
    assert source.test.labels.tolist() == labels[350:470].tolist()
    assert source.val is None
    assert source.preprocessing.size == 8
    assert source.preprocessing.channels == 3


def test_options(mosaics):
    folder, _, _ = mosaics
    source = open_mosaic(folder, 0.1, seed=1, limit=40)
    assert source.val is not None
    assert (len(source.train), len(source.val), len(source.test)) == (40, 36, 40)
    assert np.bincount(source.train.labels).tolist() == [10, 10, 10, 10]
    whole = open_mosaic(folder, 0.1, seed=2)
    assert whole.preprocessing == source.preprocessing
    grey = Preprocessing(size=8, mean=(0.5,), std=(0.5,))
    known = open_mosaic(folder, preprocessing=grey)
    assert pixels(known.train).shape[1:] == (1, 8, 8)
    assert known.preprocessing == grey


def test_missing_mosaic(mosaics):
    folder, _, _ = mosaics
    (folder / "train_10.webp").unlink()
    with pytest.raises(ValueError, match="350 labels but 200 tiles for train; is a file missing"):
        open_mosaic(folder)
    (folder / "train_2.webp").unlink()
    with pytest.raises(ValueError, match="no mosaic whose name starts with 'train'"):
        open_mosaic(folder)


def test_damaged_mosaic(mosaics):
    folder, _, _ = mosaics
    data = (folder / "test.webp").read_bytes()
    (folder / "test.webp").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"test\.webp: "):
        open_mosaic(folder)


def test_image_that_is_no_mosaic(mosaics):
    folder, _, _ = mosaics
    Image.new("RGB", (150, 8)).save(folder / "test.webp")
    with pytest.raises(ValueError, match="150 by 8 pixels are not rows of 100 square tiles"):
        open_mosaic(folder)


@pytest.mark.parametrize(
    "labels",
    [
        {"train": np.zeros(350, int), "test": np.zeros(120, int)},
        {"train": np.full(350, 2), "test": np.zeros(120, int), "classes": np.array(["a", "b"])},
        {"train": np.zeros((0,), int), "test": np.zeros(120, int), "classes": np.array(["a"])},
        {"train": np.array([object()]), "test": np.zeros(120, int), "classes": np.array(["a"])},
    ],
)
def test_labels_that_do_not_fit(mosaics, labels):
    folder, _, _ = mosaics
    np.savez(folder / "labels.npz", **labels)
    with pytest.raises(ValueError, match=r"labels\.npz"):
        open_mosaic(folder)


def test_labels_that_are_no_archive(mosaics):
    folder, _, _ = mosaics
    (folder / "labels.npz").write_text("no archive")
    with pytest.raises(ValueError, match="must hold the arrays"):
        open_mosaic(folder)


# --- the bundled data -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundled():
    return open_mosaic(BUNDLED_FOLDER, val_share=0)


def test_bundled_pixels(bundled):
    # The README beside the data states them.
    sums = {
        "train": "c0c6726b84344f71ed5f3f778113ef72d81c3e38038638a076d9f7b48ef3af3c",
        "test": "80f041a1db53aeefce90d32bb6094e616abf55eed82a9c247b6c2a44a773acf7",
    }
    readme = (BUNDLED_FOLDER / "README.md").read_text()
    for part, expected in sums.items():
        images = getattr(bundled, part).images
        assert images.shape[1:] == (1, 28, 28)
        assert hashlib.sha256(images.numpy().tobytes()).hexdigest() == expected
        assert expected in readme


def test_bundled_classes_are_balanced(bundled):
    assert np.bincount(bundled.train.labels).tolist() == [1000] * 10
    assert np.bincount(bundled.test.labels).tolist() == [200] * 10
    assert bundled.classes[0] == "T-shirt/top"
    assert bundled.classes[9] == "Ankle boot"
    assert len(set(bundled.classes)) == 10


def test_bundled_images_are_all_different_and_none_is_in_both_sets(bundled):
    seen = {image.numpy().tobytes() for image in bundled.train.images}
    assert len(seen) >= 9990  # the published set has a few duplicates
    assert not seen & {image.numpy().tobytes() for image in bundled.test.images}


def test_bundled_normalisation(bundled):
    assert bundled.preprocessing == Preprocessing(size=28, mean=(0.2867,), std=(0.3540,))
    pixels = bundled.train.images.double() / 255
    assert pixels.mean().item() == pytest.approx(0.2867, abs=5e-5)
    assert pixels.std().item() == pytest.approx(0.3540, abs=5e-5)


def test_bundled_size_and_licence():
    files = list(BUNDLED_FOLDER.iterdir())
    assert sum(file.stat().st_size for file in files) <= 4_500_000
    assert "Copyright © 2017 Zalando SE" in (BUNDLED_FOLDER / "LICENSE").read_text()


def test_making_it_refuses_other_originals(tmp_path):
    for name in ("train-images-idx3", "train-labels-idx1"):
        (tmp_path / f"{name}-ubyte.gz").write_bytes(b"something else")
    script = ROOT / "scripts" / "make_fashion_mnist.py"
    command = [sys.executable, str(script), str(tmp_path), "--to", str(tmp_path / "out")]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode != 0
    assert "is not the published file" in made.stderr
    assert not list((tmp_path / "out").iterdir())


# --- the development data -------------------------------------------------------------------------


def test_cifar10(development_data):
    source = open_mosaic(development_data / "cifar10", limit=1000)
    assert source.classes[:2] == ("airplane", "automobile")
    # The usual normalisation of CIFAR-10.
    assert source.preprocessing.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-4)
    assert source.preprocessing.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=1e-4)
    assert pixels(source.train).shape == (1000, 3, 32, 32)
    assert torch.is_tensor(source.train[0][0])
