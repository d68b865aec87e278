"""Trainings that begin with weights: the probe, and what is kept of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from senet.data import transforms
from senet.fuse import worth
from senet.models import create_model
from senet.models.weights.file import load_model, read_state
from senet.runs.folder import RunFolder
from senet.training import begin, features, kept
from senet.training.config import TrainConfig
from senet.training.evaluate import evaluate
from senet.training.fit import Interrupted, fit
from senet.training.module import Classifier
from tests.training.photos import photo_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def first(config, source, tmp_path):
    """A run that has learnt, whose classes then have other names."""
    fit(replace(config, epochs=10), tmp_path / "first", source, progress=False)
    return tmp_path / "first"


@pytest.fixture
def others(source):
    return replace(source, classes=("a", "b", "c", "d"))


@pytest.fixture
def with_weights(config, first):
    return replace(config, weights=str(first / "model.safetensors"))


def test_a_probe_alone_is_a_finished_run(with_weights, first, others, tmp_path, capsys):
    result = fit(replace(with_weights, epochs=0), tmp_path / "probe", others)
    assert (result.epochs, result.steps, result.kept) == (0, 0, "probe")
    assert result.test_accuracy > 0.75
    assert result.probe_val_accuracy is not None
    assert "probe: features of 84 images" in capsys.readouterr().out
    body, new = (
        read_state(first / "model.safetensors"),
        read_state(result.folder / "model.safetensors"),
    )
    for name, value in body.items():
        assert torch.equal(new[name], value) != name.startswith("fc."), name
    with pytest.raises(ValueError, match="holds a finished run"):
        RunFolder(result.folder).require_unused()


def test_its_features_are_what_the_network_says_before_its_classifier(
    with_weights, others, tmp_path
):
    run = fit(replace(with_weights, epochs=0), tmp_path / "probe", others, progress=False).folder
    model, record = load_model(run / "model.safetensors")
    model.reset_classifier(0)
    images = torch.stack([others.train[i][0] for i in range(len(others.train))])
    p = record.preprocessing
    with np.load(run / "features/train.npz") as file, torch.no_grad():
        expected = model(transforms.normalise(images, p.mean, p.std))
        np.testing.assert_allclose(file["features"], expected, rtol=1e-4, atol=1e-5)
        assert np.array_equal(file["labels"], others.train.labels)


def test_an_exported_network_gives_the_same_features(with_weights, others, tmp_path, monkeypatch):
    def made(name):
        run = tmp_path / name
        fit(replace(with_weights, epochs=0), run, others, progress=False)
        with np.load(run / "features/train.npz") as file:
            return file["features"]

    plain = made("plain")
    monkeypatch.setattr(worth, "WORTH", 1)
    np.testing.assert_allclose(made("exported"), plain, rtol=1e-3, atol=1e-4)


def test_more_views_are_more_features(with_weights, others, tmp_path):
    run = tmp_path / "run"
    fit(replace(with_weights, epochs=0, views=3, crop_scale=0.5), run, others, progress=False)
    with np.load(run / "features/train.npz") as file:
        assert len(file["features"]) == len(file["labels"]) == 3 * len(others.train)
        first, second, _ = np.split(file["features"], 3)
        assert not np.allclose(first, second)


def test_fine_tuning_begins_with_the_classifier_of_the_probe(with_weights, others, tmp_path):
    result = fit(replace(with_weights, lr=1e-12, epochs=1), tmp_path / "run", others)
    probe, last = (
        read_state(result.folder / n) for n in ("probe.safetensors", "model.safetensors")
    )
    for name, value in probe.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(last[name], value, rtol=0, atol=1e-6, msg=name)
    assert result.kept == "last"


def test_frozen_norms_keep_their_statistics_and_others_do_not(with_weights, others, tmp_path):
    def norm(name, **more):
        run = fit(replace(with_weights, **more), tmp_path / name, others, progress=False).folder
        last = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        return {k: v for k, v in last.items() if k.endswith("running_mean")}

    before = read_state(with_weights.weights)
    for name, value in norm("auto").items():
        assert torch.equal(value, before[name.removeprefix("module.")])
    train = norm("train", norms="train")
    assert not any(torch.equal(v, before[k.removeprefix("module.")]) for k, v in train.items())


def test_a_training_that_ends_below_the_probe_keeps_the_probe(
    with_weights, others, tmp_path, capsys
):
    spoilt = replace(with_weights, lr=0.1, weight_decay=10.0, epochs=1)  # down to nothing
    result = fit(spoilt, tmp_path / "run", others)
    assert result.kept == "probe"
    assert "the weights of the probe are kept" in capsys.readouterr().out
    probe, found = (
        read_state(result.folder / n) for n in ("probe.safetensors", "model.safetensors")
    )
    assert all(torch.equal(found[name], value) for name, value in probe.items())


@pytest.fixture
def poisoned(monkeypatch):
    """``poisoned(step)``: the images of this step, and of those after it, are not numbers."""
    original = Classifier.augmented

    def poison(first):
        def augmented(self, images, labels, step):
            x, t = original(self, images, labels, step)
            return (x * float("nan") if step >= first else x), t

        monkeypatch.setattr(Classifier, "augmented", augmented)

    return poison


def test_a_training_that_diverges_is_finished_with_the_probe(
    with_weights, others, tmp_path, poisoned
):
    from senet.analysis import report

    poisoned(2)
    with pytest.warns(UserWarning, match="the weights of the probe are kept, with") as said:
        result = fit(with_weights, tmp_path / "run", others, progress=False)
    assert "the loss is nan at step 3 (epoch 1 of 3" in str(said[0].message)
    assert "Try a lower learning rate (lr=" in str(said[0].message)
    probe, found = (
        read_state(result.folder / n) for n in ("probe.safetensors", "model.safetensors")
    )
    assert all(torch.equal(found[name], value) for name, value in probe.items())
    assert (result.kept, result.steps) == ("probe", 0)
    assert RunFolder(result.folder).read_result().diverged == result.diverged
    assert "nan at step 3" in report.write(result.folder).read_text()
    again = fit(with_weights, result.folder, others, resume=True, progress=False)
    assert again.test_loss == result.test_loss


@pytest.mark.parametrize("better", [True, False])
def test_of_a_training_that_diverges_later_the_best_epoch_is_kept_if_it_is_better(
    with_weights, others, tmp_path, poisoned, monkeypatch, better
):
    poisoned(9)  # in the third epoch
    monkeypatch.setattr(kept, "probe_accuracy", lambda folder: 0.0 if better else 1.1)
    with pytest.warns(UserWarning, match="the weights of epoch" if better else "of the probe are"):
        result = fit(with_weights, tmp_path / "run", others, progress=False)
    assert result.kept == ("best" if better else "probe")
    if better:
        state = read_state(result.folder / "checkpoints/best.ckpt")
        found = read_state(result.folder / "model.safetensors")
        assert all(torch.equal(found[name], state[name]) for name in found)


def test_without_validation_images_a_training_that_diverges_keeps_the_probe(
    with_weights, others, tmp_path, poisoned
):
    poisoned(9)
    with pytest.warns(UserWarning, match="the weights of the probe are kept. Try"):
        result = fit(with_weights, tmp_path / "run", replace(others, val=None), progress=False)
    assert result.kept == "probe"


def test_a_classifier_that_knows_the_classes_is_kept_if_it_is_as_good(
    with_weights, first, source, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(begin, "fit_linear", lambda train, val, classes, weights: begin.Linear(
        torch.zeros(classes, train[0].shape[1]), torch.zeros(classes), 1.0
    ))  # fmt: skip
    fit(replace(with_weights, epochs=0), tmp_path / "run", source)
    assert "the classifier of the weights is kept" in capsys.readouterr().out
    one, other = (read_state(r / "model.safetensors") for r in (first, tmp_path / "run"))
    assert torch.equal(one["fc.weight"], other["fc.weight"])


def test_an_interrupted_probe_goes_on_from_its_features(
    with_weights, others, tmp_path, monkeypatch
):
    whole = fit(with_weights, tmp_path / "whole", others, progress=False)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(begin, "fit_linear", stop)
        with pytest.raises(Interrupted, match="Resume with"):
            fit(with_weights, tmp_path / "run", others, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(features, "_body", stop)  # is not needed any more
        resumed = fit(with_weights, tmp_path / "run", others, resume=True, progress=False)
    assert resumed.test_loss == whole.test_loss


def test_features_of_other_weights_are_computed_again(with_weights, others, tmp_path):
    model = create_model(with_weights.model, num_classes=4, in_channels=1, **with_weights.options)
    place = tmp_path / "features.npz"
    one = features.split_features(model, others.train, others, with_weights, place)
    again = features.split_features(model, others.train, others, with_weights, place)
    assert np.array_equal(one.features, again.features)
    with torch.no_grad():
        model.conv1.weight.mul_(2)
    other = features.split_features(model, others.train, others, with_weights, place)
    assert not np.allclose(one.features, other.features)
    place.write_bytes(b"damaged")
    after = features.split_features(model, others.train, others, with_weights, place)
    assert np.array_equal(after.features, other.features)


def test_without_validation_images_there_is_a_probe_too(with_weights, others, tmp_path):
    result = fit(replace(with_weights, epochs=1), tmp_path / "run", replace(others, val=None))
    assert result.probe_val_accuracy is None
    assert result.kept == "last"


def test_parts_that_are_frozen_stay(with_weights, others, tmp_path):
    part = replace(with_weights, freeze=("conv1", "bn1", "layer1"), norms="train", probe=False)
    run = fit(part, tmp_path / "run", others, progress=False).folder
    before, after = read_state(with_weights.weights), read_state(run / "model.safetensors")
    for name, value in before.items():
        same = name.startswith(part.freeze)
        if "running" in name or name.endswith("weight"):
            assert torch.equal(after[name], value) == same, name
    with pytest.raises(ValueError, match="freeze=layer9: no part"):
        fit(replace(part, freeze=("layer9",)), tmp_path / "none", others)
    assert not (tmp_path / "none").exists()


def test_without_weights_there_is_nothing_to_do_in_no_epoch():
    with pytest.raises(ValueError, match="epochs=0 leaves nothing to do"):
        TrainConfig(epochs=0)


def test_a_preprocessing_that_the_user_says_is_kept_in_the_run(config, tmp_path, capsys):
    model = create_model(config.model, **config.options)
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    photos = photo_folder(tmp_path / "photos", dark=12, bright=12)
    changes = {"data": str(photos), "weights": str(tmp_path / "bare.pth"), "epochs": 0}
    config = replace(config, **changes, size=16, workers=0)
    with pytest.warns(UserWarning, match="guessed is mean=.*--preprocessing"):
        guessed = fit(config, tmp_path / "guessed", progress=False)
    asked = replace(config, preprocessing="mean=0.2,std=0.1")
    result = fit(asked, tmp_path / "run")
    assert "images with mean=0.2,0.2,0.2, std=0.1,0.1,0.1, size=16" in capsys.readouterr().out
    _, record = load_model(result.folder / "model.safetensors")
    assert record.preprocessing.mean == (0.2, 0.2, 0.2)
    assert evaluate(result.folder)["preprocessing"]["std"] == (0.1, 0.1, 0.1)
    assert result.test_loss != guessed.test_loss
    again = fit(asked, result.folder, resume=True, progress=False)
    assert again.test_loss == result.test_loss


def test_a_preprocessing_is_refused_where_it_means_nothing(config):
    with pytest.raises(ValueError, match="name weights, or leave it out"):
        replace(config, preprocessing="mean=0.5,std=0.5")
    with pytest.raises(ValueError, match="it needs mean and std"):
        replace(config, weights="x.pth", preprocessing="mean=0.5")


def test_a_preprocessing_that_is_not_the_recorded_one_is_refused(with_weights, tmp_path):
    photos = photo_folder(tmp_path / "photos", dark=12, bright=12)
    other = replace(with_weights, data=str(photos), preprocessing="mean=0.5,std=0.5", epochs=0)
    with pytest.raises(ValueError, match="records how its images are taken"):
        fit(other, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_photos_is_probed_evaluated_and_reported(with_weights, tmp_path):
    from senet.analysis import report

    photos = photo_folder(tmp_path / "photos", dark=12, bright=12)
    grey = replace(with_weights, data=str(photos), epochs=0, size=16, workers=0)
    result = fit(grey, tmp_path / "run", progress=False)
    assert evaluate(result.folder)["accuracy"] == result.test_accuracy
    page = report.write(result.folder).read_text()
    assert "probe" in page
    assert json.loads((result.folder / "result.json").read_text())["kept"] == "probe"
