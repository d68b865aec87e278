"""The project's own weights, which come with the package."""

import tomllib

import pytest
import torch

from benchmarks.evidence import plan, tables, weights
from benchmarks.evidence.plan import Training
from senet import create_model, known
from senet.models import list_weights
from senet.models.weights import published as published_module
from senet.models.weights.at_hand import downloaded
from senet.models.weights.file import load_model, read_record, save_model
from senet.models.weights.find import find_weights
from senet.models.weights.pretrained import from_pretrained
from senet.models.weights.published import published
from senet.models.weights.record import Record
from senet.preprocessing import Preprocessing
from senet.runs.folder import RunFolder, RunResult, write_json
from senet.runs.trained import open_trained

OWN = [name for name, fields in known.weights().items() if known.shipped(fields["source"])]
NAME = "se_resnet20_cifar.cifar10"
CLASSES = tuple("abcdefghij")


@pytest.fixture
def training(tmp_path):
    """A training that has finished: its run folder and its record, made here."""
    made = Training("cifar10", "resnet20_cifar", 4, 0)
    run = RunFolder(tmp_path / "runs" / made.name)
    run.create()
    model = create_model(made.model, num_classes=10, reduction=4)
    p = Preprocessing(32, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
    save_model(run.model_file, model, Record(model.architecture, p, CLASSES, {}))
    run.write_result(RunResult(run.path, made.model, 0, 0.9178, 0.3, 10, 30, 11700, 60.0, 0.1))
    environment = {"senet": "0.1.0", "torch": "2.13.0", "date": "2026-01-02"}
    record = {"environment": environment, "tables": {"training": {"test_accuracy": 0.91784}}}
    write_json(tmp_path / f"{made.name}.json", record)
    return made


@pytest.fixture
def shipped(training, tmp_path, monkeypatch):
    """The made training as a set of the package."""
    monkeypatch.setattr(known, "TRAINED", tmp_path / "trained")
    for cache in (known.weights, published_module._table):
        cache.cache_clear()
    path = weights.ship(training, tmp_path / "runs", tmp_path, known.TRAINED)
    yield path
    monkeypatch.undo()
    for cache in (known.weights, published_module._table):
        cache.cache_clear()


def test_a_finished_training_becomes_a_set_that_is_found_by_its_name(shipped):
    assert list_weights(NAME) == [NAME]
    model = create_model("se_resnet20_cifar", weights="cifar10")
    wanted, _ = load_model(shipped)
    for a, b in zip(model.state_dict().values(), wanted.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert model.architecture.options == {"reduction": 4}
    assert model.classes == CLASSES
    assert model.preprocessing.mean == (0.4914, 0.4822, 0.4465)
    assert from_pretrained(NAME).classes == CLASSES
    assert find_weights(NAME).file == shipped


def test_the_table_says_what_the_file_says(shipped):
    facts, record = published(NAME).record, read_record(shipped)
    assert facts.architecture == record.architecture
    assert facts.preprocessing == record.preprocessing
    assert facts.metrics == {"top1": 0.9178}
    assert "seed 0" in known.weights()[NAME]["trained"]
    assert tomllib.loads(shipped.with_suffix(".toml").read_text())["options"] == {"reduction": 4}


def test_whatever_uses_a_network_takes_it_by_its_name(shipped):
    found = open_trained(NAME)
    assert (found.file, found.record.classes) == (shipped, CLASSES)
    assert open_trained("cifar10", "se_resnet20_cifar").file == shipped


def test_the_document_lists_it(shipped):
    assert "| `se_resnet20_cifar.cifar10` | 91.78 | by senet" in tables.weights()


def test_it_is_no_suggestion_for_photos(shipped):
    assert NAME not in downloaded()


def test_what_has_not_finished_is_not_shipped(training, tmp_path, capsys):
    other = Training("cifar100", "resnet20_cifar", 4, 0)
    with pytest.raises(FileNotFoundError, match="`make evidence` trains it"):
        weights.ship(other, tmp_path / "runs", tmp_path, tmp_path / "to")
    assert not (tmp_path / "to").exists()
    assert weights.main(["--folder", str(tmp_path / "nothing")]) == 1
    assert "cifar10-se_resnet20_cifar-r4-seed0 has not finished" in capsys.readouterr().err


def test_the_first_seed_is_shipped_and_no_other():
    assert [(t.data, t.reduction, t.seed) for t in weights.CHOSEN] == [
        ("cifar10", 4, 0), ("cifar100", 4, 0),
    ]  # fmt: skip
    assert all(t in list(plan.trainings()) for t in weights.CHOSEN)


@pytest.mark.parametrize("name", OWN)
def test_what_is_shipped_is_whole(name):
    network, _, data = name.partition(".")
    model = create_model(network, weights=data)
    assert len(model.classes) == published(name).record.architecture.num_classes
    assert find_weights(name).file.stat().st_size < 1.3e6
    assert published(name).record.metrics["top1"] > 0.5
    assert all(value.isfinite().all() for value in model.state_dict().values())
