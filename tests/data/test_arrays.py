"""Images in one tensor: their batches, and the preprocessing that suits them."""

import numpy as np
import pytest
import torch

from senet.data.arrays import ArraySplit, measure, suited


def test_items_and_batches_agree():
    images = torch.randint(256, (6, 3, 5, 4), dtype=torch.uint8)
    split = ArraySplit(images, np.array([3, 1, 0, 2, 1, 5]))
    batch, labels = split.__getitems__([4, 0, 4])
    assert batch.equal(images[[4, 0, 4]])
    assert labels.tolist() == [1, 3, 1]
    assert labels.dtype == torch.int64
    image, label = split[5]
    assert image.equal(images[5])
    assert label == 5
    assert len(split) == 6
    assert split.paths is None
    part = split.subset(np.array([2, 0]))
    assert part.images.equal(images[[2, 0]])
    assert part.labels.tolist() == [0, 3]


@pytest.mark.parametrize("channels", [1, 3])
def test_measure(channels):
    images = torch.randint(256, (5000, channels, 6, 6), dtype=torch.uint8)
    mean, std = measure(images)
    wide = images.double() / 255
    assert mean == pytest.approx(wide.mean((0, 2, 3)).tolist(), abs=6e-5)
    assert std == pytest.approx(wide.std((0, 2, 3), unbiased=False).tolist(), abs=6e-5)


def test_measure_of_one_colour():
    assert measure(torch.full((2, 1, 3, 3), 51, dtype=torch.uint8)) == ((0.2,), (1.0,))


def test_grey_images_lose_two_channels_and_coloured_ones_none():
    grey = torch.randint(256, (8, 1, 4, 4), dtype=torch.uint8).expand(8, 3, 4, 4)
    labels = np.zeros(8, int)
    splits, preprocessing = suited({"train": ArraySplit(grey, labels)})
    assert splits["train"].images.equal(grey[:, :1])
    assert (preprocessing.channels, preprocessing.size) == (1, 4)
    coloured = grey.clone()
    coloured[3, 1, 2, 2] ^= 1
    splits, preprocessing = suited(
        {"train": ArraySplit(grey, labels), "test": ArraySplit(coloured, labels)}
    )
    assert preprocessing.channels == 3
    assert splits["test"].images.equal(coloured)
