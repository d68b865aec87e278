"""The trainings take the same batches and steps as the library, and resume as if never stopped."""

import json
from dataclasses import replace

import pytest
import torch
from benchmarks.gpu.summary import twins

from benchmarks.gpu import run as run_module
from benchmarks.gpu import training
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.images import batches, open_images
from benchmarks.gpu.run import Run, read
from benchmarks.gpu.weights import export, keep
from benchmarks.ledger import Ledger
from senet.data import open_source
from senet.models.weights.file import load_model
from senet.training.fit import fit
from senet.training.module import Classifier

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def plan(folder, **changes):
    settings = {"recipe": "short", "epochs": 3, "seeds": (0,), "precision": "auto", "data": None}
    return training.Plan(**settings | changes, folder=folder, small=True)


def first_config(folder):
    return next(plan(folder).groups())[0]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    config = first_config(tmp_path_factory.getbasetemp())
    return open_images(config.data, None, config, CPU)


def test_a_batch_is_that_of_the_library(images, tmp_path):
    config = first_config(tmp_path)
    source = open_source(config.data, val_share=0.0, limit=config.limit)
    theirs = Classifier(torch.nn.Identity(), 10, config, source.preprocessing, steps=9)
    for step in (0, 8):
        chosen = batches(config, len(images.labels), epoch=0)[step]
        x, labels = images.batch(chosen)
        wanted, _ = theirs.augmented(*source.train.__getitems__(chosen[0].tolist()), step)
        assert torch.equal(x, wanted)
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert labels.tolist() == source.train.labels[chosen[0]].tolist()


def test_it_trains_as_the_library_does(images, tmp_path):
    config = replace(first_config(tmp_path), epochs=2, device="cpu")
    source = open_source(config.data, val_share=0.0, limit=config.limit)
    fit(config, tmp_path / "fit", replace(source, val=None), progress=False)
    wanted, _ = load_model(tmp_path / "fit" / "model.safetensors")
    run = Run(config, images)
    while not run.finished:
        training._epoch([run], images)
    for (name, ours), theirs in zip(
        run.model.state_dict().items(), wanted.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=name)


def test_trying_a_step_out_before_it_is_captured_leaves_nothing_behind(
    images, tmp_path, monkeypatch
):
    def tried(step, device):
        for _ in range(3):
            step()
        return step

    config = replace(first_config(tmp_path), epochs=1)
    plainly = Run(config, images)
    monkeypatch.setattr(run_module, "captured", tried)
    as_on_a_gpu = Run(config, images)
    rows = [training._epoch([run], images)[0] for run in (plainly, as_on_a_gpu)]
    assert rows[0] == rows[1]
    for a, b in zip(
        plainly.model.state_dict().values(), as_on_a_gpu.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def trained(folder, budgets, **changes):
    """Return the rows of the record after one call per budget."""
    for budget in budgets:
        ledger = Ledger(folder, "gpu-training", {"date": "2026-01-02"}, "cpu", earlier=True)
        done = training.run(ledger, budget, CPU, plan(folder, **changes))
    return ledger.rows, done


def epochs(count):
    """Return a budget of ``count`` epochs; each look at it, with one at the start, takes 100 s."""
    seconds = iter(range(0, 10**6, 100))
    return Budget((100 * (count + 1) + 50) / 60, lambda: next(seconds))


def test_a_resumed_training_ends_as_one_that_never_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "EVERY", 2)
    whole, done = trained(tmp_path / "whole", [Budget(10)])
    assert done
    parts, done = trained(tmp_path / "parts", [epochs(1), epochs(1)])
    assert not done
    assert not parts
    assert len(list((tmp_path / "parts").glob("*.pt"))) == 2
    parts, done = trained(tmp_path / "parts", [epochs(9)])
    assert done
    assert not list((tmp_path / "parts").glob("*.pt"))
    same = ("data", "model", "seed", "recipe", "curve", "right", "test_accuracy", "test_loss")
    assert [[row[k] for k in same] for row in parts] == [[row[k] for k in same] for row in whole]
    assert [point["epoch"] for point in whole[0]["curve"]] == [2, 3]
    assert whole[0]["curve"][-1]["train_loss"] < whole[0]["curve"][0]["train_loss"]
    files = [next((tmp_path / name).glob("*.safetensors")) for name in ("whole", "parts")]
    (one, record), (other, _) = map(load_model, files)
    assert record.metrics["test_accuracy"] == whole[0]["test_accuracy"]
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_what_is_finished_is_not_trained_again(tmp_path, monkeypatch):
    folder = tmp_path / "not there yet"
    rows, _ = trained(folder, [Budget(10)], epochs=1)
    monkeypatch.setattr(training, "_train", None)  # nothing may call it
    again, done = trained(folder, [Budget(10)], epochs=1)
    assert done
    assert again == json.loads(json.dumps(rows))
    (pair,) = twins(rows)
    assert pair.se == "se_resnet8_cifar"
    assert pair.comparison().outcomes[0].images == 300
    assert pair.spread(True, "test_accuracy")[0] == rows[0]["test_accuracy"]


def test_a_checkpoint_of_another_training_is_refused(images, tmp_path):
    config = first_config(tmp_path)
    Run(config, images).save(tmp_path / "run.pt")
    state = read(tmp_path / "run.pt", config)
    assert state is not None
    assert state["epoch"] == 0
    with pytest.raises(ValueError, match=r"lr: 0.2, not 0.1.*--folder"):
        read(tmp_path / "run.pt", replace(config, lr=0.1))


def test_a_training_that_diverges_ends_and_says_so(tmp_path, monkeypatch):
    real = training.recipe
    monkeypatch.setattr(training, "recipe", lambda *a: replace(real(*a), lr=1e30))
    rows, done = trained(tmp_path, [Budget(10)])
    assert done
    assert {row["diverged"] for row in rows} == {1}
    assert twins(rows) == []


def test_the_order_of_worth():
    full = training.Plan("paper", None, (0, 1, 2), "auto", None, None)  # type: ignore[arg-type]
    groups = list(full.groups())
    assert [(g[0].data, g[0].model, len(g)) for g in groups[:3]] == [
        ("cifar100", "se_resnet56_cifar", 6),
        ("cifar10", "se_resnet20_cifar", 6),
        ("cifar100", "se_resnet110_cifar", 6),
    ]
    assert groups[0][0].milestones == (82, 123)
    assert [g[0].warmup for g in groups] == [0, 0, 1, 1, 0]


def test_weights_that_were_not_trained_are_not_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such training has finished there"):
        export(tmp_path, tmp_path / "to")


def test_weights_are_written_with_a_card(images, tmp_path):
    config = replace(first_config(tmp_path), model="se_resnet20_cifar", epochs=1)
    run = Run(config, images)
    run.curve = [{"test_accuracy": 0.5, "test_loss": 1.0}]
    keep(run, tmp_path / "cifar10-se_resnet20_cifar-seed0.safetensors")
    path = export(tmp_path, tmp_path / "to")
    assert 0.9e6 < path.stat().st_size < 1.3e6
    assert "se_resnet20_cifar" in path.with_suffix(".md").read_text()


def test_folders_without_the_data_are_named(tmp_path):
    config = replace(first_config(tmp_path), data="cifar100")
    with pytest.raises(ValueError, match=r"no images in .*cifar100.*--data"):
        open_images("cifar100", tmp_path, config, CPU)
