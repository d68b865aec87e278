"""Images are held out from every class equally, by name, whatever else comes or goes."""

import numpy as np
import pytest
import torch

from senet.data.arrays import ArraySplit
from senet.data.partition import divide, first_of_each, hold_out, limited


def arrays(labels) -> ArraySplit:
    labels = np.asarray(labels)
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None]
    return ArraySplit(images, labels)


def numbers(split) -> list[int]:
    return split.images.flatten().tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 10, 100])
def test_hold_out_is_disjoint_stratified_and_leaves_one(size):
    labels = np.tile([0, 1, 2], size)
    keys = [str(i) for i in range(len(labels))]
    parts = hold_out(keys, labels, (0.2, 0.1), seed=0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    counts = [np.bincount(labels[part], minlength=3) for part in parts]
    assert all(len(set(count.tolist())) == 1 for count in counts)
    assert counts[0][0] >= 1
    assert counts[1][0] == (0 if size == 1 else max(1, round(0.2 * size)))
    assert counts[2][0] == (0 if size < 3 else max(1, round(0.1 * size)))


def test_hold_out_depends_on_the_seed_and_on_nothing_else():
    labels = np.zeros(200, int)
    keys = [f"cat/{i}.jpg" for i in range(200)]
    first = hold_out(keys, labels, (0.2,), 0)[1]
    assert np.array_equal(first, hold_out(keys, labels, (0.2,), 0)[1])
    assert not np.array_equal(first, hold_out(keys, labels, (0.2,), 1)[1])


def test_added_images_hardly_move_the_others():
    keys = [f"cat/{i}.jpg" for i in range(220)]
    before = set(hold_out(keys[:200], np.zeros(200, int), (0.2,), 0)[1])
    after = set(hold_out(keys, np.zeros(220, int), (0.2,), 0)[1])
    assert len(before & after) >= 34  # of 40


def test_divide_holds_out_what_is_missing():
    train, val, test = divide(arrays(np.tile([0, 1], 50)), None, None, 0.1, 0.2)
    assert val is not None
    assert (len(train), len(val), len(test)) == (70, 10, 20)
    assert sorted(numbers(train) + numbers(val) + numbers(test)) == list(range(100))


def test_divide_takes_a_single_published_set_as_test():
    published = arrays([0, 1])
    for given in ({"val": published, "test": None}, {"val": None, "test": published}):
        train, val, test = divide(arrays(np.tile([0, 1], 50)), **given)
        assert test is published
        assert val is not None
        assert (len(train), len(val)) == (90, 10)


def test_divide_keeps_what_is_published():
    train, val, test = arrays([0, 1, 0]), arrays([0, 1]), arrays([1, 0])
    divided = divide(train, val, test)
    assert divided[1:] == (val, test)
    assert numbers(divided[0]) == numbers(train)


def test_divide_without_enough_to_hold_out():
    with pytest.raises(ValueError, match="every class has a single image"):
        divide(arrays([0, 1, 2]), None, None)
    train, val, test = divide(arrays([0, 0, 1, 1]), None, None)
    assert (len(train), val, len(test)) == (2, None, 2)


@pytest.mark.parametrize("shares", [(-0.1, 0.2), (0.5, 0.5), (0.1, 0.0)])
def test_shares_are_checked(shares):
    with pytest.raises(ValueError, match="val_share and test_share"):
        divide(arrays([0, 1]), None, None, *shares)


def test_limit_is_balanced_and_takes_the_first():
    labels = np.array([0] * 10 + [1] * 10 + [2] * 2)
    assert first_of_each(labels, 6).tolist() == [0, 1, 10, 11, 20, 21]
    assert first_of_each(labels, 8).tolist() == [0, 1, 2, 10, 11, 12, 20, 21]
    assert len(first_of_each(labels, 1000)) == 22
    with pytest.raises(ValueError, match="give at least 3"):
        first_of_each(labels, 2)


def test_limited():
    train, val, test = limited((arrays([0, 0, 1, 1]), None, arrays([1, 0, 1, 0])), 2)
    assert numbers(train) == [0, 2]
    assert val is None
    assert numbers(test) == [0, 1]
