"""What one network gains over another on the same images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from senet import explain
from senet.explain.answers import Answers, Heard, gains
from senet.explain.explanation import Explanation
from senet.explain.page import page
from senet.explain.tables import tables
from senet.paired import mcnemar
from tests.explain.networks import by_class, seeing

CLASSES = ("cat", "dog", "newt")


def answered(right):
    """Return the answers on 30 images of three classes, rightly in a share of each class."""
    labels = np.arange(30) % 3
    turn = np.arange(30) // 3
    said = np.where(turn < np.array(right)[labels] * 10, labels, (labels + 1) % 3)
    return Answers([f"{i}.png" for i in range(30)], labels, said)


def test_classes_that_gain_come_first():
    everything, *classes = gains(answered((0.5, 1, 0.8)), answered((0.5, 0.2, 0.9)))
    assert everything.label is None
    assert everything.change.value == pytest.approx(7 / 30)
    assert [one.label for one in classes] == [1, 0, 2]
    assert [one.change.value for one in classes] == pytest.approx([0.8, 0, -0.1])
    dog = classes[0]
    assert (dog.outcomes.only_se, dog.outcomes.only_plain) == (8, 0)
    assert dog.p == mcnemar(dog.outcomes) == pytest.approx(2 / 2**8)
    assert dog.change.low > 0
    assert classes[1].change.holds_zero


def test_only_images_that_both_saw_count():
    whole, part = answered((1, 1, 1)), answered((0, 0, 0))
    part = Answers(part.names[:6], part.labels[:6], part.said[:6])
    assert gains(whole, part)[0].outcomes.images == 6


def test_parts_of_several_processes_give_the_whole():
    whole = answered((0.3, 0.6, 0.9))
    parts = [
        Answers(whole.names[own], whole.labels[own], whole.said[own])
        for own in (slice(0, 7), slice(7, 30))
    ]
    together = Answers.of_parts(parts)
    assert together.names == whole.names
    assert np.array_equal(together.right, whole.right)
    assert Answers.of_parts([whole, None]) is None


def test_answers_are_heard_while_gates_are_recorded():
    model, (x, labels) = seeing(), by_class()
    heard = Heard(model, [(x[:40], labels[:40]), (x[40:], labels[40:])])
    explain.network(model, heard, CLASSES)
    found = heard.answers([str(i) for i in range(60)])
    with torch.no_grad():
        assert np.array_equal(found.said, model(x).argmax(1).numpy())
    assert np.array_equal(found.labels, labels.numpy())
    assert not model._forward_hooks


def test_a_network_without_logits_gives_no_answers():
    model = nn.Identity()
    heard = Heard(model, [(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))])
    for x, _ in heard:
        model(x)
    assert heard.answers(["a", "b"]) is None


def test_a_plain_twin_has_answers_and_no_gates():
    found = explain.network(seeing(), [by_class(30)], CLASSES, name="with SE")
    other = Explanation("plain", {}, CLASSES, answers=answered((0.5, 0.2, 0.9)))
    found = replace(found, answers=answered((0.5, 1, 0.8)), other=other)
    html = page(found)
    assert "with SE answers 76.7 % of 30 images rightly, plain 53.3 %" in html
    assert "plain has no SE block" in html
    every = tables(found)
    assert "beside" not in every
    columns, rows = every["gains"]
    assert [row[0] for row in rows] == ["", "dog", "cat", "newt"]
    assert dict(zip(columns, rows[1], strict=True))["change"] == pytest.approx(0.8)
    assert every["answers"][1][7] == ("7.png", "dog", "dog", "newt")
    assert len(every["answers"][1]) == 30


def test_a_difference_that_is_chance_is_called_so():
    found = explain.network(seeing(), [by_class(30)], CLASSES, name="with SE")
    other = Explanation("plain", {}, CLASSES, answers=answered((0.9, 0.8, 0.8)))
    found = replace(found, answers=answered((0.9, 0.9, 0.8)), other=other)
    assert "cannot tell the two apart" in page(found)
    assert "more than the chance" not in page(found)
