"""The linear classifier of the probe, against one that is fitted by other means."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from senet.training.linear import DECAYS, fit_linear


@pytest.fixture
def clouds():
    """Three overlapping clouds of points in 20 dimensions, of very unequal scales."""

    def draw(n, seed):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(n) % 3
        points = torch.randn(n, 20, generator=generator)
        points[:, :3] += F.one_hot(labels, 3)
        return points * torch.logspace(-3, 3, 20) + 5, labels

    return draw


def accuracy(linear, x, y):
    return (linear(x).argmax(1) == y).float().mean().item()


def test_it_is_as_good_as_scikit_learns(clouds):
    linear_model = pytest.importorskip("sklearn.linear_model")
    train, val, test = clouds(300, 0), clouds(300, 1), clouds(3000, 2)
    mean, std = train[0].mean(0), train[0].std(0)
    fits = [
        linear_model.LogisticRegression(C=1 / (len(train[0]) * decay), max_iter=5000).fit(
            (train[0] - mean) / std, train[1]
        )
        for decay in DECAYS
    ]
    best = max(fits, key=lambda fit: fit.score((val[0] - mean) / std, val[1]))
    theirs = best.score((test[0] - mean) / std, test[1])
    assert accuracy(fit_linear(train, val, 3), *test) >= theirs - 0.01


def test_it_has_converged(clouds):
    """The gradient of what it minimises is zero, in the features as they came."""
    train, val = clouds(300, 0), clouds(300, 1)
    found = fit_linear(train, val, 3)
    x, y = train[0].double(), train[1]
    std, mean = torch.std_mean(x, 0, correction=0)
    weight = (found.weight.double() * std).requires_grad_()
    bias = (found.bias.double() + found.weight.double() @ mean).requires_grad_()
    loss = F.cross_entropy(F.linear((x - mean) / std, weight, bias), y)
    (loss + found.decay / 2 * weight.square().sum()).backward()
    assert weight.grad is not None
    assert weight.grad.abs().max() < 1e-4


def test_the_decay_is_chosen_on_validation(clouds):
    train, val = clouds(60, 0), clouds(600, 1)
    loss = F.cross_entropy(fit_linear(train, val, 3)(val[0]), val[1])
    for decay in 1e-6, 1.0:  # too weak and too strong
        one = fit_linear(train, (train[0], torch.arange(60) % 3), 3) if decay < 1 else None
        other = one or fit_linear(train, (val[0], torch.randperm(600) % 3), 3)
        assert loss < F.cross_entropy(other(val[0]), val[1])


def test_without_validation_images_it_holds_some_out_and_then_fits_all(clouds):
    train, test = clouds(300, 0), clouds(3000, 2)
    assert accuracy(fit_linear(train, None, 3), *test) > 0.5  # by chance 1/3, at best 0.6


def test_one_image_of_each_class_is_enough():
    x = torch.eye(4) * 3
    found = fit_linear((x, torch.arange(4)), None, 4)
    assert found(x).argmax(1).tolist() == [0, 1, 2, 3]


def test_a_feature_that_never_changes_and_a_class_without_images_do_no_harm(clouds):
    x, y = clouds(60, 0)
    x[:, 5] = 7.0
    found = fit_linear((x, y), None, 5)
    assert np.isfinite(found.weight.numpy()).all()
    assert not (found(x).argmax(1) > 2).any()
