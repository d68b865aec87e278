"""Classes of very unequal sizes, and fewer images than a batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from senet.analysis import report
from senet.cli.results import show_comparison
from senet.training.balance import class_weights, mean_loss
from senet.training.compare import compare
from senet.training.evaluate import evaluate, metrics
from senet.training.fit import fit
from senet.training.found import found_images
from senet.training.linear import fit_linear
from tests.training.photos import photo_folder


def test_each_class_counts_the_same():
    labels = np.array([0] * 99 + [1])
    weights = class_weights(labels, 2)
    assert weights[0] * 99 == pytest.approx(weights[1].item())
    assert weights[torch.from_numpy(labels)].mean() == pytest.approx(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_batches_together_weigh_images_as_the_whole_does(smoothing):
    """The mean gradient of an epoch's batches is that of all its images, as a sampler has it."""
    labels = torch.tensor([0] * 31 + [1])
    logits = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    weights = class_weights(labels.numpy(), 2)

    def gradient(*batches):
        bias = torch.zeros(2, requires_grad=True)
        for rows in batches:
            loss = mean_loss(logits[rows] + bias, labels[rows], weights, smoothing)
            (loss / len(batches)).backward()
        return bias.grad

    whole = gradient(torch.arange(32))
    torch.testing.assert_close(gradient(*torch.arange(32).split(4)), whole)
    shares = torch.nn.functional.one_hot(labels, 2).float()  # as mixed images have them
    torch.testing.assert_close(
        mean_loss(logits, labels, weights, smoothing), mean_loss(logits, shares, weights, smoothing)
    )


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

    line = counted(15, 15, 15, 1)[-1]
    assert line.startswith("classes are unequal: 1 to 15 training images; `senet train --set balan")
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


# --- end to end -----------------------------------------------------------------------------------


@pytest.fixture
def of_photos(config):
    """``of_photos(folder, **changes)``: a training on a folder of small photos in colour."""

    def make(folder, **changes):
        return replace(config, data=str(folder), size=16, workers=0, **{"epochs": 2, **changes})

    return make


@pytest.mark.slow
def test_a_class_of_a_hundredth_is_trained_evaluated_and_reported(of_photos, tmp_path, capsys):
    photos = photo_folder(tmp_path / "photos", many=300, few=3)
    results = {}
    for balance in (False, True):
        config = of_photos(photos, balance=balance, lr=0.02)
        results[balance] = fit(config, tmp_path / str(balance))
        assert "classes are unequal" in capsys.readouterr().out
    result = results[True]
    assert set(result.class_accuracy) == {"few", "many"}
    assert result.balanced_accuracy == pytest.approx(np.mean(list(result.class_accuracy.values())))
    found = evaluate(result.folder)
    assert found["balanced_accuracy"] == result.balanced_accuracy
    page = report.write(result.folder).read_text()
    assert f"Balanced accuracy: {100 * result.balanced_accuracy:.1f}" in page.replace(
        chr(0x202F), ""
    )
    assert results[False].test_loss != result.test_loss


@pytest.mark.slow
def test_a_class_of_three_images_gives_one_to_each_split(of_photos, tmp_path, capsys):
    photos = photo_folder(tmp_path / "photos", dark=20, bright=20, rare=3)
    result = fit(of_photos(photos, epochs=1), tmp_path / "run")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    (rare,) = [row[1:] for row in rows if row[:1] == ["rare"]]
    assert sum(map(int, rare)) == 3
    assert int(rare[0]) >= 1
    assert result.test_images > 0


@pytest.mark.slow
def test_fewer_images_than_a_batch_are_trained_probed_and_resumed(of_photos, tmp_path):
    photos = photo_folder(tmp_path / "photos", dark=5, bright=5)
    config = of_photos(photos, batch_size=64)
    first = fit(config, tmp_path / "first", progress=False)
    assert (first.steps, first.epochs) == (2, 2)
    tuned = replace(config, weights=str(first.folder / "model.safetensors"))
    second = fit(tuned, tmp_path / "second", progress=False)
    assert second.kept in ("last", "probe")
    again = fit(tuned, second.folder, resume=True, progress=False)
    assert again.test_loss == second.test_loss


@pytest.mark.slow
def test_a_comparison_says_the_balanced_accuracy_of_unequal_classes(of_photos, tmp_path, capsys):
    photos = photo_folder(tmp_path / "photos", dark=40, bright=10)
    folder = compare(of_photos(photos), tmp_path / "run", progress=False)
    show_comparison(folder)
    assert "balanced" in capsys.readouterr().out
    page = report.write(folder).read_text()
    assert page.count("; balanced ") == 2
