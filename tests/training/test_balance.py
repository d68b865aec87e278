"""Classes of very unequal sizes, and fewer images than a batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from senet.training.batches import class_weights
from senet.training.evaluate import metrics
from senet.training.fit import fit
from senet.training.found import found_images
from senet.training.linear import fit_linear


def test_each_class_counts_the_same():
    labels = np.array([0] * 99 + [1])
    weights = class_weights(labels, 2)
    assert weights[0] * 99 == pytest.approx(weights[1].item())
    assert weights[torch.from_numpy(labels)].mean() == pytest.approx(1)


def test_a_rare_class_is_found_by_a_balanced_probe():
    generator = torch.Generator().manual_seed(0)

    def draw(many, few):
        labels = torch.tensor([0] * many + [1] * few)
        return torch.randn(many + few, 4, generator=generator) + labels[:, None], labels

    train, val, (x, y) = draw(500, 5), draw(200, 200), draw(500, 500)
    weights = class_weights(train[1].numpy(), 2)

    def balanced(linear):
        return metrics(y.numpy(), linear(x).numpy(), ("many", "few"))["balanced_accuracy"]

    assert (
        balanced(fit_linear(train, None, 2, weights)) > balanced(fit_linear(train, None, 2)) + 0.1
    )
    assert balanced(fit_linear(train, val, 2, weights)) > 0.8


def test_balanced_accuracy_is_the_mean_over_classes_with_images():
    logits = np.eye(3, dtype=np.float32)[[0, 0, 0, 0]]
    found = metrics(np.array([0, 0, 0, 1]), logits, ("a", "b", "c"))
    assert (found["accuracy"], found["balanced_accuracy"]) == (0.75, 0.5)


def test_unequal_classes_are_said_with_the_remedy(source):
    def counted(*counts):
        chosen = [np.flatnonzero(source.train.labels == k)[:n] for k, n in enumerate(counts)]
        return found_images(replace(source, train=source.train.subset(np.concatenate(chosen))))

    assert "--set balance=true" in counted(15, 15, 15, 1)[-1]
    assert "--set balance=true" not in "".join(counted(15, 15, 15, 15))


@pytest.mark.slow
def test_a_balanced_training_is_another_and_says_how_good_it_is(config, source, tmp_path):
    chosen = np.flatnonzero((source.train.labels > 0) | (np.arange(64) < 8))
    few = replace(source, train=source.train.subset(chosen))
    results = [
        fit(replace(config, balance=balance), tmp_path / str(balance), few, progress=False)
        for balance in (False, True)
    ]
    assert results[0].test_loss != results[1].test_loss
    for result in results:
        shares = [share for share in result.class_accuracy.values() if share is not None]
        assert result.balanced_accuracy == pytest.approx(np.mean(shares))
