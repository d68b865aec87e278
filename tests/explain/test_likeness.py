"""Classes by their gates: of networks whose gates are known."""

import numpy as np
import pytest
import torch

from senet import explain
from senet.explain.likeness import extremes, likeness, specific
from senet.explain.page import page
from senet.gates import BlockGates
from senet.gates.statistics import Examples
from tests.explain.networks import by_brightness, by_class, seeing


def block(mean, std=0.1, images=10.0, examples=None):
    mean = torch.tensor(mean, dtype=torch.float64)
    images = torch.full((len(mean),), images, dtype=torch.float64)
    return BlockGates("se", mean, torch.full_like(mean, std), images, 0, 0, None, examples)


def test_like_classes_become_neighbours():
    up, down = [0.9, 0.1, 0.5, 0.5], [0.1, 0.9, 0.4, 0.6]
    like = likeness(block([up, down, up, down]))
    places = {k: like.classes.index(k) for k in range(4)}
    assert abs(places[0] - places[2]) == 1
    assert abs(places[1] - places[3]) == 1
    assert np.allclose(like.r, like.r.T)
    assert np.allclose(np.diag(like.r), 1)
    first, *_, last = like.pairs()
    assert {first[0], first[1]} in ({0, 2}, {1, 3})
    assert first[2] == pytest.approx(1)
    assert last[2] < 0


def test_classes_without_images_are_left_out():
    known = block([[0.9, 0.1], [0.2, 0.3], [0.1, 0.9]])
    known.images[1] = 0
    known.mean[1] = known.std[1] = torch.nan
    assert sorted(likeness(known).classes) == [0, 2]
    assert [one.label for one in specific(known)] == [0, 2]


def test_the_channels_of_a_class_are_its_own():
    first, second = specific(block([[0.9, 0.5, 0.5], [0.1, 0.5, 0.4]], std=0.2))
    assert first.opened[0] == (0, 0.9, 0.5, pytest.approx(2))
    assert second.closed[0] == (0, 0.1, 0.5, pytest.approx(-2))
    assert all(channel != 1 for channel, *_ in (*first.opened, *first.closed))


def test_the_images_that_open_and_close_a_channel():
    s = torch.tensor([[0.1], [0.9], [0.5], [0.7]])
    nothing = torch.zeros(4).long()
    known = block([[0.5]], examples=Examples(s, s, nothing, torch.tensor([7, 3, 5, 1])))
    opening, closing = extremes(known, 0, most=2)
    assert (opening, closing) == ([1, 3], [0, 2])
    with pytest.raises(ValueError, match="examples"):
        extremes(block([[0.5]]), 0)


def test_only_gates_that_tell_classes_apart_are_compared():
    classes = ("cat", "dog", "newt")
    found = explain.network(seeing(), [by_class()], classes)
    assert found.likeness is not None
    assert len(found.specific) == 3
    assert "most alike" in page(found)
    found = explain.network(seeing(), [by_brightness()], classes)
    assert found.likeness is None
    assert "there is no similarity to show" in page(found)
