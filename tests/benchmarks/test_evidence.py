"""The trainings of the evidence: their order, their records, and what stopping them costs."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.evidence import __main__ as command
from benchmarks.evidence import plan, running, tables
from benchmarks.evidence.plan import Training, trainings
from benchmarks.evidence.rows import packed, unpacked
from benchmarks.evidence.train import open_whole, processor_seconds, train

PLAIN = Training("fashion-mnist", "resnet8_cifar", None, 0, epochs=2)
SE = replace(PLAIN, reduction=4)


def small():
    return replace(plan.cifar(), limit=100, batch_size=20, milestones=(1,))


@pytest.fixture
def smaller(monkeypatch):
    monkeypatch.setattr(plan, "recipe", small)
    return open_whole("fashion-mnist", None, limit=100)


def test_twins_of_one_seed_follow_one_another_and_nothing_comes_twice():
    found = list(trainings())
    assert len({t.name for t in found}) == len(found) == 18
    assert [(t.data, t.reduction, t.seed) for t in found[:4]] == [
        ("cifar100", None, 0), ("cifar100", 4, 0), ("cifar100", None, 1), ("cifar100", 4, 1),
    ]  # fmt: skip
    assert [t.reduction for t in found[12:]] == [16] * 6


def test_twins_differ_in_their_blocks_alone():
    plain, se = PLAIN.config, SE.config
    assert (plain.model, se.model) == ("resnet8_cifar", "se_resnet8_cifar")
    assert replace(se, model=plain.model, options={}) == plain


@pytest.mark.slow
def test_a_training_leaves_a_record(smaller, tmp_path):
    path = train(SE, smaller, tmp_path / "runs", tmp_path / "records")
    assert path.name == "fashion-mnist-se_resnet8_cifar-r4-seed0.json"
    found = json.loads(path.read_text())
    assert found["environment"]["threads"] > 0
    row = found["tables"]["training"]
    assert {"data": "fashion-mnist", "reduction": 4, "seed": 0}.items() <= row.items()
    assert [point["epoch"] for point in row["curve"]] == [1, 2]
    assert row["test_accuracy"] == unpacked(row["right"], row["test_images"]).mean()
    assert row["test_accuracy"] == pytest.approx(row["curve"][-1]["test_accuracy"], abs=0.02)
    assert row["seconds"] > 0


TRAIN = """
import sys
from pathlib import Path
from tests.benchmarks.test_evidence import PLAIN, open_whole, plan, small, train
plan.recipe = small
folder = Path(sys.argv[1])
train(PLAIN, open_whole("fashion-mnist", None, limit=100), folder / "runs", folder)
"""


@pytest.mark.slow
def test_a_training_that_was_killed_and_moved_ends_as_one_that_never_stopped(tmp_path):
    killed, whole = (tmp_path / name for name in ("killed", "whole"))
    command = [sys.executable, "-c", TRAIN]
    process = subprocess.Popen([*command, str(killed)])
    last = killed / "runs" / PLAIN.name / "checkpoints" / "last.ckpt"
    while not last.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    rows = []
    moved = killed.rename(tmp_path / "moved")
    for folder in (moved, whole):
        subprocess.run([*command, str(folder)], check=True)
        path = folder / f"{PLAIN.name}.json"
        rows.append(json.loads(path.read_text())["tables"]["training"])
    losses = [[(p["train_loss"], p["test_loss"]) for p in row["curve"]] for row in rows]
    assert losses[0] == losses[1]
    assert rows[0]["right"] == rows[1]["right"]


HOLD = """
from pathlib import Path
import sys
import time
from benchmarks.evidence.running import held
with held(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holds():
    """Hold files in processes of their own."""
    started = []

    def hold(place):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_a_training_is_held_by_one_process_and_all_are_stopped_together(tmp_path, holds):
    assert running.pause(tmp_path) == f"nothing trains in {tmp_path}"
    places = [running.of_training(tmp_path, name) for name in ("a", "b", "c")]
    processes = [holds(place) for place in places[:2]]
    found = []
    for place in places:
        with running.held(place) as mine:
            found.append(mine)
    assert found == [False, False, True]
    said = running.pause(tmp_path)
    assert said.startswith(f"{processes[0].pid} and {processes[1].pid} have stopped")
    assert [process.wait() for process in processes] == [-signal.SIGTERM] * 2
    assert "nothing trains" in running.pause(tmp_path)
    with running.held(places[0]) as mine:
        assert mine


def test_a_process_of_before_holds_the_whole_folder(tmp_path, holds, capsys):
    process = holds(running.of_folder(tmp_path))
    assert command.main(["--folder", str(tmp_path)]) == 1
    assert "make evidence-pause" in capsys.readouterr().err
    assert f"process {process.pid} has stopped" in running.pause(tmp_path)


def test_a_second_process_takes_what_no_other_is_at(tmp_path, monkeypatch, holds, capsys):
    monkeypatch.setattr(command, "RECORDS", tmp_path)
    monkeypatch.setattr(command, "open_whole", lambda name, data: name)
    trained = []
    monkeypatch.setattr(command, "train", lambda training, *_: trained.append(training))
    first, *left = trainings()
    holds(running.of_training(tmp_path, first.name))
    assert command.main(["--folder", str(tmp_path)]) == 0
    assert trained == left
    assert f"{first.name}: another process is at it" in capsys.readouterr().out


def test_processor_seconds_add_up(tmp_path):
    file = tmp_path / "seconds.json"
    spent = []
    for _ in range(2):
        start = time.process_time()
        with processor_seconds(file):
            sum(range(10**6))
        spent.append(time.process_time() - start)
    found = json.loads(file.read_text())["processor_seconds"]
    assert 0 < found <= sum(spent)


def test_what_has_a_record_is_not_trained_again(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "RECORDS", tmp_path)
    monkeypatch.setattr(command, "open_whole", lambda name, data: name)
    trained = []
    monkeypatch.setattr(command, "train", lambda training, *_: trained.append(training))
    done, *left = trainings()
    (tmp_path / f"{done.name}.json").touch()
    assert command.main(["--folder", str(tmp_path / "runs")]) == 0
    assert trained == left
    trained.clear()
    assert command.main(["--folder", str(tmp_path / "runs"), left[3].name, done.name]) == 0
    assert trained == [left[3]]


def test_an_unknown_training_is_named_with_those_that_there_are(tmp_path, capsys):
    assert command.main(["--folder", str(tmp_path / "runs"), "cifar1-se"]) == 1
    message = capsys.readouterr().err
    assert "cifar1-se" in message
    assert next(iter(trainings())).name in message


def row(training, right, epochs=2):
    point = {"train_loss": 1.0, "train_accuracy": 0.8, "test_loss": 1.0}
    accuracy = float(np.mean(right))
    return {
        **training.key, "test_accuracy": accuracy, "right": packed(right),
        "test_images": len(right), "seconds": 60.0, "clock_seconds": 90.0,
        "curve": [
            {**point, "epoch": e + 1, "test_accuracy": accuracy * (e + 1) / epochs}
            for e in range(epochs)
        ],
    }  # fmt: skip


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Put records of trainings in the place of the real ones."""
    monkeypatch.setattr(tables, "RECORDS", tmp_path)
    monkeypatch.setattr(tables, "PICTURE", tmp_path / "evidence.svg")
    environment = {"device": "A processor", "threads": 1, "torch": "2.13", "date": "2026-01-02"}

    def write(training, right):
        content = {"environment": environment, "tables": {"training": row(training, right)}}
        (tmp_path / f"{training.name}.json").write_text(json.dumps(content))

    return write


def lines(text):
    """Return the rows of a table as lists of cells."""
    found = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("|")]
    return found[2:]


def test_what_is_finished_is_told_and_what_is_not(put):
    with pytest.raises(FileNotFoundError, match="make evidence"):
        tables.each()
    first, second, *_ = trainings()
    put(first, np.arange(1000) < 680)
    assert "1 of 18 trainings are done" in tables.each()
    with pytest.raises(FileNotFoundError, match="no pair"):
        tables.compared()
    put(second, np.arange(1000) < 690)
    (line,) = lines(tables.compared())
    assert line[:4] == ["cifar100", "se_resnet20_cifar, r = 4", "30 epochs", "1"]
    assert line[4:7] == ["68.00", "69.00", "+1.00"]
    assert "right on 10 more of the 1,000 test images" in tables.compared()


def test_a_mean_over_seeds_and_its_picture(put, tmp_path):
    images = np.arange(1000)
    for training in trainings():
        put(training, images < 680 + 10 * training.seed + (training.reduction or 0))
    found = lines(tables.compared())
    assert [line[:2] for line in found] == [
        [data, f"se_resnet20_cifar, r = {r}"] for r in (4, 16) for data in ("cifar100", "cifar10")
    ]
    assert found[0][4:7] == ["69.00 ± 1.00", "69.40 ± 1.00", "+0.40"]
    assert "(evidence.svg)" in tables.curves()
    picture = (tmp_path / "evidence.svg").read_text()
    assert picture.count("and plain") == 4
    assert "18 of 18" in tables.each()


def test_folders_without_the_data_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no images in .*cifar100.*--data"):
        open_whole("cifar100", tmp_path)
