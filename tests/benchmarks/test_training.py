"""The trainings of the GPU take the same batches and steps as the library, and stop in time."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks.evidence import plan
from benchmarks.evidence.summary import twins
from benchmarks.evidence.train import open_whole
from benchmarks.gpu import run as run_module
from benchmarks.gpu import training
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.images import batches, on_device
from benchmarks.gpu.run import Run
from benchmarks.ledger import Ledger
from senet.models.weights.file import load_model
from senet.training.fit import fit
from senet.training.module import Classifier

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    real = plan.recipe
    monkeypatch.setattr(plan, "recipe", lambda: replace(real(), batch_size=32, limit=300, lr=0.1))


@pytest.fixture
def config():
    plain, _ = training._small_twins(0)
    return replace(plain.config, precision="32")


@pytest.fixture
def images(config):
    return on_device(open_whole(config.data, None, 300), config.crop_padding, CPU)


def test_a_batch_is_that_of_the_library(images, config):
    source = images.source
    theirs = Classifier(torch.nn.Identity(), 10, config, source.preprocessing, steps=9)
    for step in (0, 8):
        chosen = batches(config, len(images.labels), epoch=0)[step]
        x, labels = images.batch(chosen)
        wanted, _ = theirs.augmented(*source.train.__getitems__(chosen[0].tolist()), step)
        assert torch.equal(x, wanted)
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert labels.tolist() == source.train.labels[chosen[0]].tolist()


def test_it_trains_as_the_library_does(images, config, tmp_path):
    fit(replace(config, device="cpu"), tmp_path / "fit", images.source, progress=False)
    wanted, _ = load_model(tmp_path / "fit" / "model.safetensors")
    run = Run(config, images)
    for _ in range(config.epochs):
        training.epoch([run], images)
    for (name, ours), theirs in zip(
        run.model.state_dict().items(), wanted.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=name)


def test_trying_a_step_out_before_it_is_captured_leaves_nothing_behind(images, config, monkeypatch):
    def tried(step, device):
        for _ in range(3):
            step()
        return step

    plainly = Run(config, images)
    monkeypatch.setattr(run_module, "captured", tried)
    as_on_a_gpu = Run(config, images)
    rows = [training.epoch([run], images)[0] for run in (plainly, as_on_a_gpu)]
    assert rows[0] == rows[1]
    for a, b in zip(
        plainly.model.state_dict().values(), as_on_a_gpu.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def trained(folder, budget):
    """Return the rows of the record after one call."""
    ledger = Ledger(folder, "gpu-training", {"date": "2026-01-02"}, "cpu", earlier=True)
    training.run(ledger, budget, CPU, None, small=True)
    return ledger.rows


def test_what_is_finished_is_not_trained_again(tmp_path, monkeypatch):
    folder = tmp_path / "not there yet"
    rows = trained(folder, Budget(10))
    monkeypatch.setattr(training, "_train", None)  # nothing may call it
    assert trained(folder, Budget(10)) == json.loads(json.dumps(rows))
    (pair,) = twins(rows)
    assert (pair.se, pair.reduction) == ("se_resnet8_cifar", 4)
    assert pair.comparison().outcomes[0].images == 300
    assert [point["epoch"] for point in rows[0]["curve"]] == [1, 2]
    assert rows[0]["curve"][-1]["train_loss"] < rows[0]["curve"][0]["train_loss"]


def test_a_seed_that_does_not_end_in_time_is_left(tmp_path, capsys):
    seconds = iter([0, 1, 59.9999])  # at the start, before the seed, after its first epoch
    assert trained(tmp_path, Budget(1, lambda: next(seconds))) == []
    assert "not enough time" in capsys.readouterr().out


def test_a_training_that_diverges_ends_and_says_so(tmp_path, monkeypatch):
    short = plan.recipe
    monkeypatch.setattr(plan, "recipe", lambda: replace(short(), lr=1e30))
    rows = trained(tmp_path, Budget(10))
    assert {row["failed"] for row in rows} == {"a loss of the twins was not finite in epoch 1"}
    assert twins(rows) == []
