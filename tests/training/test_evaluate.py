import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from senet.data import open_source
from senet.models import Preprocessing, create_model
from senet.models.weights.file import load_model
from senet.runs.folder import RunFolder
from senet.runs.scored import images_to_score
from senet.training.config import TrainConfig
from senet.training.evaluate import evaluate, metrics, predict_split
from senet.training.fit import fit
from tests.training.photos import add_photo, photo_folder

pytestmark = pytest.mark.slow


def test_the_figures_are_what_their_names_say():
    random = np.random.default_rng(0)
    labels = random.integers(0, 6, 50)
    logits = random.normal(size=(50, 7)).astype(np.float32) * 3
    found = metrics(labels, logits, tuple("abcdefg"))
    right = logits.argmax(1) == labels
    assert found["accuracy"] == right.mean()
    ranks = (logits > logits[np.arange(50), labels][:, None]).sum(1)
    assert found["top5"] == (ranks < 5).mean()
    theirs = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).double(), torch.from_numpy(labels)
    )
    assert found["loss"] == pytest.approx(theirs.item(), rel=1e-12)
    assert found["class_accuracy"]["c"] == right[labels == 2].mean()
    assert found["class_accuracy"]["g"] is None  # no image of it
    assert found["images"] == 50


def test_five_classes_have_no_top_five():
    assert metrics(np.array([0]), np.eye(5, dtype=np.float32)[:1], tuple("abcde"))["top5"] is None


def test_huge_logits_have_a_finite_loss():
    logits = np.array([[3e38, -3e38]], dtype=np.float32)
    assert metrics(np.array([0]), logits, ("a", "b"))["loss"] == 0


def test_predictions_do_not_depend_on_the_batch(config, source):
    torch.manual_seed(0)
    model = create_model(config.model, num_classes=4, in_channels=1, **config.options)
    one = predict_split(model, source.test, source.preprocessing, batch_size=7)
    all_ = predict_split(model, source.test, source.preprocessing, batch_size=100)
    assert np.array_equal(one[0], source.test.labels)
    np.testing.assert_allclose(one[1], all_[1], rtol=1e-5, atol=1e-6)
    assert one[1].dtype == np.float32
    assert not model.training


@pytest.fixture
def photos(tmp_path):
    return photo_folder(tmp_path / "photos", dark=20, middle=20, bright=20)


@pytest.fixture
def run(photos, tmp_path):
    config = TrainConfig(
        model="se_resnet8_cifar", options={"widths": (4, 4, 4), "reduction": 2}, size=8,
        data=str(photos), epochs=2, batch_size=8, device="cpu", workers=0, crop_scale=0.5,
        accelerate=False,
    )  # fmt: skip
    return fit(config, tmp_path / "run", progress=False)


def test_a_folder_is_evaluated_on_the_images_that_were_held_out(run, photos, monkeypatch, tmp_path):
    before = evaluate(run.folder)
    assert before["accuracy"] == run.test_accuracy
    assert before["loss"] == pytest.approx(run.test_loss)
    assert before["images"] == run.test_images == 12
    # New photos belong to no split of this run, and the folder is found from anywhere.
    for i in range(30):
        add_photo(photos / "dark" / f"new{i}.png", 0.9, seed=i)
    monkeypatch.chdir(tmp_path)
    after = evaluate(run.folder)
    assert after | {"new": None} == before
    assert after["new"]["images"] == 30
    assert after["new"]["class_accuracy"]["bright"] is None
    assert evaluate(run.folder / "model.safetensors") == after
    assert evaluate(run.folder, str(photos)) == after
    assert evaluate(run.folder, split="train")["new"] is None


def test_another_folder_without_splits_is_scored_whole(run, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "copy")
    found = evaluate(run.folder, str(tmp_path / "copy"))
    assert (found["images"], found["split"], found["new"]) == (60, "all", None)
    assert found["seen"] == 42
    with pytest.raises(ValueError, match="no train, val and test folders, and so no split 'val'"):
        evaluate(run.folder, str(tmp_path / "copy"), split="val")


def test_the_folder_of_a_run_that_has_moved_keeps_its_splits(run, photos, tmp_path):
    before = evaluate(run.folder)
    photos.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"were in .*photos, which no longer exists.*--data"):
        evaluate(run.folder)
    assert evaluate(run.folder, str(tmp_path / "moved")) == before


def test_a_subset_of_the_classes_is_scored_by_name(run, tmp_path):
    """Of three classes only the last is there, so its number is not its place among the folders."""
    other = photo_folder(tmp_path / "other", middle=6)
    with pytest.warns(UserWarning, match="no image of 2 of the 3 classes: 'bright', 'dark'"):
        found = evaluate(run.folder, str(other))
    assert found["images"] == 6
    assert found["class_accuracy"]["middle"] == found["accuracy"]


def test_a_data_set_with_its_classes_in_another_order_is_scored_by_name(config, source, tmp_path):
    run = fit(config, tmp_path / "run", source, progress=False).folder
    record = load_model(run / "model.safetensors")[1]
    turned = replace(source, classes=source.classes[::-1])
    for name in ("train", "val", "test"):
        split = getattr(source, name)
        turned = replace(turned, **{name: split.relabelled(np.array([3, 2, 1, 0]))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("senet.runs.scored.open_source", lambda *_, **__: turned)
        found = images_to_score(run / "model.safetensors", record, "some/where", None)
    assert np.array_equal(found.images.labels, source.test.labels)
    _, labels = found.images.__getitems__([0, 1])
    assert labels.tolist() == source.test.labels[:2].tolist()


def test_each_split_can_be_asked_for(run):
    sizes = {split: evaluate(run.folder, split=split)["images"] for split in ("train", "val")}
    assert sizes == {"train": 42, "val": 6}
    assert RunFolder(run.folder).read_data()["images"] == sizes | {"test": 12}
    with pytest.raises(ValueError, match="split must be 'train', 'val' or 'test', got 'tset'"):
        evaluate(run.folder, split="tset")


def test_other_classes_are_refused(run, tmp_path):
    other = photo_folder(tmp_path / "other", dark=5, light=5)
    with pytest.raises(
        ValueError,
        match=r"knows 3 classes \('bright', 'dark', 'middle'\), but other has others: 'light'",
    ):
        evaluate(run.folder, str(other))


def test_a_model_without_a_run_needs_data(run, tmp_path):
    (tmp_path / "alone").mkdir()
    alone = tmp_path / "alone" / "model.safetensors"
    alone.write_bytes((run.folder / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="so name the images with --data"):
        evaluate(alone)


def test_no_such_model(tmp_path):
    with pytest.raises(FileNotFoundError):
        evaluate(tmp_path / "nothing.safetensors")


def test_an_image_that_cannot_be_read_any_more_does_not_count_and_is_named(photos):
    torch.manual_seed(0)
    model = create_model("resnet8_cifar", num_classes=3, widths=(4, 4, 4))
    split = open_source(photos).test
    assert split.paths is not None
    preprocessing = Preprocessing(8, mean=(0.5,) * 3, std=(0.2,) * 3)
    labels, logits = predict_split(model, split, preprocessing, workers=0)
    os.unlink(split.paths[2])
    with pytest.warns(UserWarning, match=r"1 image could not be read \(of 12, which do not count"):
        found = predict_split(model, split, preprocessing, workers=0)
    assert np.array_equal(found[0], np.delete(labels, 2))
    np.testing.assert_allclose(found[1], np.delete(logits, 2, 0), rtol=1e-4, atol=1e-5)
