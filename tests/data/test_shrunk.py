"""Shrunk copies are read instead of photos, and are nearly the same."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from senet.data import open_source
from senet.training.batches import training_images
from senet.training.config import TrainConfig
from tests.data.conftest import encode, picture


def copies():
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "senet" / "shrunk"
    return sorted(folder.rglob("*.jpg"))


@pytest.fixture
def large(tmp_path):
    """Two classes of five photos, wide and upright ones."""
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "large" / name).mkdir(parents=True)
        for i in range(5):
            shape = (300, 400) if i % 2 else (500, 310)
            content = encode(picture(*shape, 10 * number + i))
            (tmp_path / "large" / name / f"{i}.jpg").write_bytes(content)
    return tmp_path / "large"


def test_a_copy_has_the_side_and_nearly_the_pixels(large):
    split = open_source(large, shrink=64).train
    for i, path in enumerate(split.paths):
        pixels = split.picture(i).pixels()
        whole = Image.open(path)
        assert min(pixels.shape[1:]) == 64
        assert max(pixels.shape[1:]) == round(64 * max(whole.size) / min(whole.size))
        want = whole.resize(pixels.shape[:0:-1], Image.Resampling.BICUBIC)
        want = torch.from_numpy(np.array(want)).permute(2, 0, 1)
        assert (pixels.float() - want.float()).abs().mean() < 2
    assert len(copies()) == len(split)


def test_later_only_the_copy_is_read(large):
    split = open_source(large, shrink=64).train
    before = [split.picture(i).pixels() for i in range(len(split))]
    for path in split.paths:
        Path(path).unlink()
    after = [split.picture(i).pixels() for i in range(len(split))]
    assert all(a.equal(b) for a, b in zip(before, after, strict=True))


def test_a_changed_photo_has_another_copy(large):
    split = open_source(large, shrink=64).train
    before = split.picture(0).pixels()
    Path(split.paths[0]).write_bytes(encode(255 - picture(500, 310)))
    after = open_source(large, shrink=64).train.picture(0).pixels()
    assert (before.float() - after.float()).abs().mean() > 20


def test_small_images_are_read_themselves(large):
    split = open_source(large, shrink=310).train
    for i in range(len(split)):
        assert min(split.picture(i).pixels().shape[1:]) in (300, 310)
    assert not copies()


def test_a_damaged_copy_is_made_again(large):
    split = open_source(large, shrink=64).train
    want = split.picture(0).pixels()
    (copy,) = copies()
    copy.write_bytes(b"")
    assert split.picture(0).pixels().equal(want)
    assert copy.stat().st_size


def test_a_cache_that_cannot_be_written_is_done_without(large, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    split = open_source(large, shrink=64).train
    assert min(split.picture(0).pixels().shape[1:]) == 64


def test_a_training_asks_for_it(large):
    config = TrainConfig(data=str(large), shrink=256)
    assert training_images(config).train.shrink == 256
    with pytest.raises(ValueError, match="shrink=200 is less than the 224 pixels"):
        training_images(replace(config, shrink=200))
    with pytest.raises(ValueError, match="shrink must be a whole number of at least 1"):
        TrainConfig(shrink=0)
