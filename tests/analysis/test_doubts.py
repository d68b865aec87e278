"""The list of doubted labels holds most of the wrong ones."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from senet.analysis.images import TestImages
from senet.analysis.sections.doubts import doubts
from senet.analysis.subject import Subject
from senet.data import open_source
from senet.runs.predictions import Predictions
from senet.runs.read import Run
from senet.training.linear import fit_linear


def run_of(source, test, val=None):
    config = {"config": {"model": "resnet8_cifar"}, "data": {"classes": list(source.classes)}}
    return Run("run", config, {"epoch": []}, {"finished": True}, test, val)


def flipped(split, share, seed):
    """Return the split with another class for a share of its images, and which ones."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(split), round(share * len(split)), replace=False)
    wrong = split.subset(np.arange(len(split)))
    wrong.labels = split.labels.copy()
    wrong.labels[chosen] = (wrong.labels[chosen] + rng.integers(1, 10, len(chosen))) % 10
    return wrong, set(chosen.tolist())


def named(section, part):
    names = (re.fullmatch(rf"{part} image (\d+)", one["name"]) for one in section["images"])
    return [int(match[1]) for match in names if match]


@pytest.fixture(scope="module")
def answered():
    """Fashion-MNIST with 5 % of wrong labels everywhere, and what a linear classifier says."""
    clean = open_source("fashion-mnist", limit=1000)
    assert clean.val is not None
    (train, _), (val, in_val), (test, in_test) = (
        flipped(split, 0.05, seed)
        for seed, split in enumerate((clean.train, clean.val, clean.test))
    )
    source = replace(clean, train=train, val=val, test=test)
    x, v, t = (s.images.flatten(1).float() / 255 for s in (train, val, test))
    linear = fit_linear((x, torch.from_numpy(train.labels)), (v, torch.from_numpy(val.labels)), 10)
    said = [
        Predictions(split.labels, linear(images).detach().numpy())
        for split, images in ((test, t), (val, v))
    ]
    return source, said, in_test, in_val


def test_most_wrong_labels_are_in_the_list(answered):
    source, (test, val), in_test, in_val = answered
    section = doubts(Subject.of(run_of(source, test, val)), TestImages(source.test, source.val))
    assert section is not None
    assert len(section["images"]) == 120  # of 2,000
    found = in_test & set(named(section, "test"))
    found_in_val = in_val & set(named(section, "validation"))
    assert len(found) + len(found_in_val) > 0.7 * (len(in_test) + len(in_val))
    assert "test and validation images" in section["caption"]


def test_the_least_probable_labels_come_first_with_both_classes(answered):
    source, (test, _), _, _ = answered
    section = doubts(Subject.of(run_of(source, test)), TestImages(source.test, source.val))
    assert section is not None
    assert not named(section, "validation")  # older runs did not keep these predictions
    p = test.probabilities
    wrong = np.flatnonzero(~test.right)
    order = wrong[np.argsort(p[wrong, test.labels[wrong]], kind="stable")]
    assert named(section, "test") == order[: len(section["images"])].tolist()
    first = section["images"][0]
    assert first["label"] == source.classes[test.labels[order[0]]]
    assert first["says"] == source.classes[test.predicted[order[0]]]


def test_without_doubts_there_is_no_list(answered):
    source = answered[0]
    sure = Predictions(source.test.labels, 20.0 * np.eye(10)[source.test.labels])
    assert doubts(Subject.of(run_of(source, sure)), TestImages(source.test)) is None
