import contextlib
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from senet.data import transforms
from senet.models import Preprocessing, create_model
from senet.models.weights.file import load_model, read_state, save_model
from senet.models.weights.record import Record
from senet.runs.folder import COLUMNS, RunFolder
from senet.training.batches import training_images
from senet.training.config import TrainConfig
from senet.training.evaluate import evaluate
from senet.training.fit import DivergenceError, Interrupted, fit
from senet.training.found import found_images
from senet.training.module import Classifier, NotFiniteError
from tests.training import bare
from tests.training.photos import add_photo, photo_folder

pytestmark = pytest.mark.slow

BEFORE_TIMES = COLUMNS.index("seconds")


def weights(folder):
    return read_state(folder / "model.safetensors")


def table(folder):
    """Read ``metrics.csv`` without the times, which differ from run to run."""
    lines = (folder / "metrics.csv").read_text().splitlines()
    return [line.split(",")[:BEFORE_TIMES] for line in lines]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# --- a run ----------------------------------------------------------------------------------------


def test_a_run_learns_and_leaves_what_it_promises(config, source, tmp_path):
    run = tmp_path / "run"
    result = fit(replace(config, epochs=10), run, source, progress=False)
    assert result.test_accuracy > 0.75  # by chance 0.25
    assert {p.name for p in run.iterdir()} == {
        "config.json", "metrics.csv", "checkpoints", "tensorboard", "model.safetensors",
        "predictions.npz", "predictions-val.npz", "result.json",
    }  # fmt: skip
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}

    said = json.loads((run / "result.json").read_text())
    assert said["finished"] is True
    assert (said["model"], said["seed"], said["epochs"], said["steps"]) == (
        "se_resnet8_cifar", 0, 10, 40
    )  # fmt: skip
    assert RunFolder(run).read_result() == result

    with np.load(run / "predictions.npz") as file:
        labels, logits = file["labels"], file["logits"]
    assert np.array_equal(labels, source.test.labels)
    with np.load(run / "predictions-val.npz") as file:
        assert np.array_equal(file["labels"], source.val.labels)
        right = float((file["logits"].argmax(1) == file["labels"]).mean())
    assert right == pytest.approx(float(RunFolder(run).read_table()[-1]["val_accuracy"]), abs=0.02)
    assert (logits.argmax(1) == labels).mean() == result.test_accuracy

    model, record = load_model(run / "model.safetensors")
    assert record.classes == source.classes
    assert record.metrics["test_accuracy"] == result.test_accuracy
    images = torch.stack([source.test[i][0] for i in range(len(source.test))])
    p = record.preprocessing
    with torch.no_grad():
        again = model(transforms.normalise(images, p.mean, p.std))
    np.testing.assert_allclose(again.numpy(), logits, rtol=1e-4, atol=1e-4)


def test_all_files_may_be_read_by_whom_the_umask_says(config, source, tmp_path):
    before = os.umask(0o022)
    try:
        fit(config, tmp_path / "run", source, progress=False)
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in files} == {
        path.name: oct(0o644) for path in files
    }


def test_the_table_has_a_row_an_epoch(config, source, tmp_path):
    fit(config, tmp_path / "run", source, progress=False)
    rows = RunFolder(tmp_path / "run").read_table()
    assert tuple(rows[0]) == COLUMNS
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "4"), ("2", "8"), ("3", "12")]
    for row in rows:
        assert all(float(row[name]) >= 0 for name in COLUMNS)
    best = max(float(row["val_accuracy"]) for row in rows)
    assert RunFolder(tmp_path / "run").read_result().best_val_accuracy == best


def test_without_validation_images_the_columns_are_empty(config, source, tmp_path):
    result = fit(config, tmp_path / "run", replace(source, val=None), progress=False)
    rows = RunFolder(tmp_path / "run").read_table()
    assert {(row["val_loss"], row["val_accuracy"]) for row in rows} == {("", "")}
    assert result.best_epoch is None
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


def test_config_json_tells_how_to_do_it_again(config, source, tmp_path):
    fit(config, tmp_path / "run", source, progress=False)
    folder = RunFolder(tmp_path / "run")
    assert TrainConfig.from_dict(folder.read_config()) == config
    data = folder.read_data()
    assert data["classes"] == list(source.classes)
    assert data["images"] == {"train": 64, "val": 20, "test": 40}
    environment = json.loads(folder.config_file.read_text())["environment"]
    assert environment["torch"] == torch.__version__
    assert environment["threads"] == 1


def test_the_best_checkpoint_is_that_of_the_best_epoch(config, source, tmp_path):
    result = fit(replace(config, epochs=6), tmp_path / "run", source, progress=False)
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    assert result.best_epoch is not None
    assert best["global_step"] == 4 * result.best_epoch


def test_tensorboard_gets_the_same_figures(config, source, tmp_path):
    fit(config, tmp_path / "run", source, progress=False)
    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    rows = RunFolder(tmp_path / "run").read_table()
    for name in "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr":
        logged = [event.value for event in events.Scalars(name)]
        assert logged == pytest.approx([float(row[name]) for row in rows], rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": "adamw", "lr": 0.01, "schedule": "onecycle", "weight_decay": 0.05},
        {"schedule": "step", "milestones": (1, 2), "warmup": 0.5, "momentum": 0.5},
        {"crop_padding": 1, "flip": True, "label_smoothing": 0.1, "seed": 3},
        {"ema": 0.6},
    ],
)
def test_it_is_the_loop_that_one_would_write(config, source, tmp_path, change):
    config = replace(config, **change)
    fit(config, tmp_path / "run", source, progress=False)
    ours, theirs = weights(tmp_path / "run"), bare.train(config, source).state_dict()
    counters = [k for k in ours if k.endswith("num_batches_tracked")]
    for name in ours.keys() - (counters if config.ema else []):
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)
    untrained = bare.start(config, source).state_dict()
    assert not torch.allclose(ours["fc.weight"], untrained["fc.weight"], atol=1e-3)


def test_bfloat16_trains(config, source, tmp_path):
    config = replace(config, epochs=10, precision="bf16-mixed")
    assert fit(config, tmp_path / "run", source, progress=False).test_accuracy > 0.75
    assert weights(tmp_path / "run")["fc.weight"].dtype == torch.float32


def test_another_size_of_input(config, source, tmp_path):
    fit(replace(config, size=12), tmp_path / "run", source, progress=False)
    _, record = load_model(tmp_path / "run/model.safetensors")
    assert record.preprocessing.size == 12


# --- the same for twins ---------------------------------------------------------------------------


def test_twins_see_the_same_batches(config, source, tmp_path, monkeypatch):
    config = replace(
        config, epochs=2, crop_padding=2, flip=True, mixup=0.2, cutmix=1.0,
        options={"widths": (4, 4, 8)},
    )  # fmt: skip
    seen: list[tuple] = []
    original = Classifier.augmented

    def augmented(self, images, labels, step):
        batch = original(self, images, labels, step)
        seen.append(batch)
        return batch

    monkeypatch.setattr(Classifier, "augmented", augmented)
    fit(replace(config, model="resnet8_cifar"), tmp_path / "a", source, progress=False)
    fit(
        replace(config, options={"widths": (4, 4, 8), "reduction": 2}),
        tmp_path / "b", source, progress=False,
    )  # fmt: skip
    plain, se = seen[:8], seen[8:]
    assert len(se) == len(plain) == 8
    for (x, t), (other_x, other_t) in zip(plain, se, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(t, other_t)
    # The augmentation does something, and something else at every step.
    assert len({x.sum().item() for x, _ in plain}) == 8


def test_seeds_give_other_runs_and_the_same_seed_the_same(config, source, tmp_path):
    for name, seed in ("a", 0), ("b", 0), ("c", 1):
        fit(replace(config, seed=seed), tmp_path / name, source, progress=False)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert table(tmp_path / "a") == table(tmp_path / "b")
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


# --- stopping and resuming ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "kept", "change"),
    [
        (0, 1, {}),
        (5, 6, {"crop_padding": 1, "mixup": 0.2, "ema": 0.5}),
        (7, 8, {"ema": 0.5}),  # the last step of an epoch: validation comes first
        (6, 7, {"optimizer": "adamw", "lr": 0.01}),
        (11, 12, {"accelerate": True}),  # the last of all
    ],
)
def test_an_interrupted_run_ends_as_one_that_was_not(
    config, source, tmp_path, monkeypatch, signal_at, step, kept, change
):
    config = replace(config, **change)
    fit(config, tmp_path / "whole", source, progress=False)
    with monkeypatch.context():
        signal_at(step, signal.SIGINT)
        with pytest.raises(Interrupted, match=f"checkpoint of step {kept} is kept") as stop:
            fit(config, tmp_path / "run", source, progress=False)
        monkeypatch.undo()
    assert f"senet train --resume {tmp_path / 'run'}" in str(stop.value)
    assert stop.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    fit(config, tmp_path / "run", source, resume=True, progress=False)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    assert table(tmp_path / "run") == table(tmp_path / "whole")


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_photos_are_resumed_to_the_bit_with_any_number_of_workers(
    config, tmp_path, monkeypatch, signal_at, workers
):
    """Interrupted once or twice, in the first, the second and the third epoch of five steps."""
    photos = photo_folder(tmp_path / "photos", dark=16, bright=16)
    config = replace(config, data=str(photos), size=8, batch_size=4, crop_scale=0.5, workers=0)
    fit(config, tmp_path / "whole", progress=False)
    config = replace(config, workers=workers)
    for stops in (1,), (5,), (6, 8, 13):
        run = tmp_path / f"run {stops}"
        for step in stops:
            with monkeypatch.context():
                signal_at(step, signal.SIGINT)
                with pytest.raises(Interrupted, match=f"checkpoint of step {step + 1} is kept"):
                    fit(config, run, resume=run.exists(), progress=False)
                monkeypatch.undo()
        fit(config, run, resume=True, progress=False)
        assert same(weights(run), weights(tmp_path / "whole"))
        assert table(run) == table(tmp_path / "whole")


def test_sigterm_does_the_same(config, source, tmp_path, monkeypatch, signal_at):
    fit(config, tmp_path / "whole", source, progress=False)
    signal_at(5, signal.SIGTERM)
    with pytest.raises(Interrupted, match="checkpoint of step 6") as stop:
        fit(config, tmp_path / "run", source, progress=False)
    monkeypatch.undo()
    assert stop.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    fit(config, tmp_path / "run", source, resume=True, progress=False)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_a_closed_terminal_does_the_same(config, source, tmp_path, monkeypatch, signal_at):
    """The terminal and the shell both send the signal."""
    fit(config, tmp_path / "whole", source, progress=False)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
    signal_at(5, signal.SIGHUP, signal.SIGHUP)
    with pytest.raises(Interrupted, match="checkpoint of step 6") as stop:
        fit(config, tmp_path / "run", source, progress=False)
    monkeypatch.undo()
    assert stop.value.exit_code == 129
    assert signal.signal(signal.SIGHUP, before) == signal.SIG_DFL
    fit(config, tmp_path / "run", source, resume=True, progress=False)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_what_was_started_by_nohup_outlives_the_terminal(config, source, tmp_path, signal_at):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signal_at(5, signal.SIGHUP)
        assert fit(config, tmp_path / "run", source, progress=False).epochs == 3
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_reader_that_goes_away_stops_the_printing_alone(tmp_path):
    photos = photo_folder(tmp_path / "photos", a=12, b=12)
    command = [sys.executable, "-u", "-c", SCRIPT, str(tmp_path / "run"), "3", str(photos)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "photos: 24 images of 2 classes, 24 × 20 pixels\n"
    process.stdout.close()
    assert process.wait(60) == 0, process.stderr.read()
    assert RunFolder(tmp_path / "run").read_result().epochs == 3


def test_an_epoch_is_printed_when_its_checkpoint_is_safe(config, source, tmp_path, monkeypatch):
    kept = []

    def tell(line=""):
        checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
        kept.append((line[:9], checkpoint["global_step"]))

    monkeypatch.setattr("senet.training.callbacks.tell", tell)
    fit(config, tmp_path / "run", source)
    assert kept == [("epoch 1/3", 4), ("epoch 2/3", 8), ("epoch 3/3", 12)]


def test_a_long_epoch_prints_lines_into_a_log(config, source, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("senet.training.callbacks._FIRST_LINE_AFTER", 0.0)
    fit(replace(config, epochs=1), tmp_path / "run", source)
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(r"epoch 1/1, step 1 of 4: loss \d\.\d+, accuracy [\d.]+%", lines[0])
    assert re.fullmatch(
        r"epoch 1/1, step 2 of 4: loss \d\.\d+, accuracy [\d.]+%, [\d.]+ ms a step, "
        r"\d+ s to the end of the epoch",
        lines[1],
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes_is_counted_and_named_once(config, tmp_path, workers):
    photos = photo_folder(tmp_path / "photos", dark=16, bright=16)
    config = replace(config, data=str(photos), size=8, batch_size=4, workers=workers)
    source = training_images(config)
    gone = source.train.paths[3]
    os.unlink(gone)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(config, tmp_path / "run", source, progress=False)
    said = [str(w.message) for w in caught if "could not be read" in str(w.message)]
    assert said == [
        "1 image could not be read (1 so far; others take their places):\n"
        f"  {gone}: there is no such file"
    ]


def test_a_disk_that_vanishes_leaves_a_checkpoint_and_a_hint(config, tmp_path, monkeypatch):
    photos = photo_folder(tmp_path / "photos", dark=16, bright=16)
    config = replace(config, data=str(photos), size=8, batch_size=4, workers=0)
    fit(config, tmp_path / "whole", progress=False)
    original = Classifier.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == 6:
            photos.rename(tmp_path / "away")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", training_step)
    with pytest.raises(ValueError, match=r"is their disk still .*step 7 is kept.* --resume"):
        fit(config, tmp_path / "run", progress=False)
    monkeypatch.undo()
    (tmp_path / "away").rename(photos)
    fit(config, tmp_path / "run", resume=True, progress=False)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_too_little_shared_memory_is_said_with_the_command_that_goes_on(
    config, source, tmp_path, monkeypatch
):
    def killed(*_):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error.")

    monkeypatch.setattr(Classifier, "training_step", killed)
    with pytest.raises(OSError, match=r"--workers 0.* Resume with `senet train --resume .* 0`"):
        fit(config, tmp_path / "run", source, progress=False)


def test_one_process_with_a_rank_is_one_process(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), "1", "fashion-mnist"]
    environment = os.environ | {"SLURM_PROCID": "1", "RANK": "3"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    assert len(events.Scalars("train_loss")) == 1


def test_a_second_ctrl_c_is_obeyed_at_once(config, source, tmp_path, monkeypatch, signal_at):
    fit(config, tmp_path / "whole", source, progress=False)
    signal_at(5, signal.SIGINT, signal.SIGINT)
    with pytest.raises(Interrupted, match="checkpoint of step 4"):
        fit(config, tmp_path / "run", source, progress=False)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fit(config, tmp_path / "run", source, resume=True, progress=False)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


@pytest.mark.parametrize("step", [2, 9])
def test_a_crash_costs_no_more_than_its_epoch(config, source, tmp_path, monkeypatch, step):
    fit(config, tmp_path / "whole", source, progress=False)

    def crash(self, images, labels, at):
        if at == step:
            raise RuntimeError("the power went out")
        return original(self, images, labels, at)

    original = Classifier.augmented
    monkeypatch.setattr(Classifier, "augmented", crash)
    with pytest.raises(RuntimeError, match="power"):
        fit(config, tmp_path / "run", source, progress=False)
    monkeypatch.undo()
    # The folder may even have been moved meanwhile.
    (tmp_path / "run").rename(tmp_path / "moved")
    fit(config, tmp_path / "moved", source, resume=True, progress=False)
    assert same(weights(tmp_path / "moved"), weights(tmp_path / "whole"))
    assert table(tmp_path / "moved") == table(tmp_path / "whole")
    best = [torch.load(tmp_path / n / "checkpoints/best.ckpt", weights_only=True)["global_step"]
            for n in ("whole", "moved")]  # fmt: skip
    assert best[0] == best[1]


def test_a_run_can_be_resumed_without_the_weights_it_began_with(
    config, source, tmp_path, monkeypatch, signal_at
):
    fit(replace(config, seed=5), tmp_path / "first", source, progress=False)
    config = replace(config, weights=str(tmp_path / "first/model.safetensors"), norms="train")
    fit(config, tmp_path / "whole", source, progress=False)
    signal_at(5, signal.SIGINT)
    with pytest.raises(Interrupted):
        fit(config, tmp_path / "run", source, progress=False)
    monkeypatch.undo()
    (tmp_path / "first/model.safetensors").unlink()
    fit(config, tmp_path / "run", source, resume=True, progress=False)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_it_runs_in_a_thread_where_signals_are_out_of_reach(config, source, tmp_path):
    fit(config, tmp_path / "here", source, progress=False)
    thread = threading.Thread(
        target=fit, args=(config, tmp_path / "there", source), kwargs={"progress": False}
    )
    thread.start()
    thread.join()
    assert (tmp_path / "there/result.json").exists()


def test_a_finished_run_is_only_read(config, source, tmp_path):
    result = fit(config, tmp_path / "run", source, progress=False)
    before = (tmp_path / "run/model.safetensors").stat().st_mtime_ns
    assert fit(config, tmp_path / "run", source, resume=True) == result
    assert (tmp_path / "run/model.safetensors").stat().st_mtime_ns == before


def test_resuming_with_another_configuration_names_the_differences(config, source, tmp_path):
    fit(config, tmp_path / "run", source, progress=False)
    with pytest.raises(ValueError, match=r"epochs: 3, not 4; .*lr: 0\.1, not 0\.2"):
        fit(replace(config, epochs=4, lr=0.2), tmp_path / "run", source, resume=True)


@pytest.fixture
def interrupted(config, tmp_path, monkeypatch, signal_at):
    """A run on photos, stopped in the second of three epochs of seven steps: config and folder."""
    photo_folder(tmp_path / "photos", dark=20, bright=20)
    config = replace(config, data=str(tmp_path / "photos"), size=8, batch_size=4, workers=0)
    fit(config, tmp_path / "whole", progress=False)
    signal_at(8, signal.SIGINT)
    with pytest.raises(Interrupted):
        fit(config, tmp_path / "run", progress=False)
    monkeypatch.undo()
    return config, tmp_path / "run"


def test_images_that_have_moved_are_named_and_the_run_goes_on(interrupted, tmp_path):
    config, run = interrupted
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"were in .*photos, which no longer exists.*--data"):
        fit(config, run, resume=True)
    (tmp_path / "wrong").mkdir()
    with pytest.raises(ValueError, match=r"none of the images of this run \(40\), such as"):
        fit(replace(config, data=str(tmp_path / "wrong")), run, resume=True)
    fit(replace(config, data=str(tmp_path / "moved")), run, resume=True, progress=False)
    assert same(weights(run), weights(tmp_path / "whole"))
    # From now on the run knows them there.
    assert RunFolder(run).read_data()["path"] == str(tmp_path / "moved")
    assert evaluate(run)["images"] == 8


def test_images_that_have_changed_are_named_and_the_run_goes_on_if_that_is_wanted(
    interrupted, tmp_path
):
    config, run = interrupted
    train = RunFolder(run).read_data()["record"]["train"]["dark"]
    for file in train[:5]:
        (tmp_path / "photos" / file).unlink()
    add_photo(tmp_path / "photos" / train[5], 0.9, seed=9)
    before = (run / "config.json").read_bytes()
    with (
        pytest.warns(UserWarning, match="5 of 40 files"),
        pytest.raises(
            ValueError,
            match=r"have changed since .*: 5 missing \(dark/.*\.\.\.\), 1 changed \(dark/",
        ),
    ):
        fit(config, run, resume=True)
    assert (run / "config.json").read_bytes() == before
    with pytest.warns(UserWarning, match="5 of 40 files"):
        result = fit(config, run, resume=True, changed_data=True, progress=False)
    assert result.steps == 21  # three epochs of seven steps, as it began
    data = RunFolder(run).read_data()
    assert data["images"]["train"] == 23
    assert data["changes"][0].startswith("5 missing")
    with pytest.MonkeyPatch.context() as patch:  # this time nothing has changed
        patch.setattr(RunFolder, "finished", False)
        fit(config, run, resume=True, progress=False)


def test_resuming_what_is_no_run(config, source, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        fit(config, tmp_path, source, resume=True)


def test_a_damaged_checkpoint_is_named(config, source, tmp_path, monkeypatch, signal_at):
    signal_at(5, signal.SIGINT)
    with pytest.raises(Interrupted):
        fit(config, tmp_path / "run", source, progress=False)
    last = tmp_path / "run/checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged"):
        fit(config, tmp_path / "run", source, resume=True)


def test_a_checkpoint_of_another_network_is_refused(config, source, tmp_path, signal_at):
    for name, widths in (("run", config.options["widths"]), ("other", (8, 8, 8))):
        signal_at(5, signal.SIGINT)
        options = {**config.options, "widths": widths}
        with pytest.raises(Interrupted):
            fit(replace(config, options=options), tmp_path / name, source, progress=False)
    last = RunFolder(tmp_path / "run").last
    last.write_bytes(RunFolder(tmp_path / "other").last.read_bytes())
    with pytest.raises(ValueError, match=r"last\.ckpt is not of this run's network, .*delete it"):
        fit(config, tmp_path / "run", source, resume=True)


SCRIPT = textwrap.dedent("""
    import sys
    import torch
    from senet.training.config import TrainConfig
    from senet.training.fit import Interrupted, fit
    torch.set_num_threads(1)
    config = TrainConfig(
        model="se_resnet8_cifar", options={"widths": (4, 4, 4), "reduction": 2}, limit=100, size=8,
        epochs=int(sys.argv[2]), batch_size=4, device="cpu", workers=1, data=sys.argv[3],
        accelerate=False,
    )
    try:
        fit(config, sys.argv[1])
    except Interrupted as stop:
        print(stop)
        sys.exit(stop.exit_code)
""")


def test_ctrl_c_in_a_terminal(tmp_path):
    """Interrupt as a terminal does: the processes of the loader get the signal too."""
    photos = photo_folder(tmp_path / "photos", a=12, b=12)
    command = [sys.executable, "-u", "-c", SCRIPT, str(tmp_path / "run"), "1000", str(photos)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch "):
            break
    lines = [line]
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    lines += out.splitlines()
    assert lines[0].startswith("epoch    1/1000: loss "), (lines, errors)
    found = re.search(r"Stopped: a checkpoint of step (\d+) is kept. Resume with", lines[-1])
    assert found, (lines, errors)
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == int(found[1]) > 0
    assert process.returncode == 130
    assert errors == ""


def test_a_bar_in_a_terminal(tmp_path):
    main, terminal = pty.openpty()
    command = [sys.executable, "-u", "-c", SCRIPT, str(tmp_path / "run"), "2", "fashion-mnist"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", read_all(main))  # without colours
    assert done.wait() == 0, shown
    # It fits in one line at 80 columns, and counts as the lines count.
    assert re.search(r"epoch [12]/2 .*━.*/25 .*loss: \d\.\d+ accuracy: \d\.\d+", shown), shown
    assert re.search(r"epoch 2/2: loss ", shown)


def read_all(terminal: int) -> str:
    parts = []
    with contextlib.suppress(OSError):  # what reading a closed terminal raises
        while part := os.read(terminal, 65536):
            parts.append(part)
    return b"".join(parts).decode()


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_loss_that_is_none_stops_at_once(config, source, tmp_path):
    config = replace(config, lr=1e30, schedule="step", milestones=(1,), gamma=0.5)
    with pytest.raises(DivergenceError) as error:
        fit(config, tmp_path / "run", source, progress=False)
    said = str(error.value)
    found = re.match(r"the loss is (nan|inf) at step (\d+) \(epoch 1 of 3, learning rate 1e\+30",
                     said)  # fmt: skip
    assert found, said
    assert 2 <= int(found[2]) <= 4
    assert "Last good checkpoint: none" in said
    assert "lr=3.3e+29" in said
    assert "warmup=1" in said


def test_it_names_the_last_good_checkpoint(config, source, tmp_path):
    def poisoned(self, images, labels, step):
        x, t = original(self, images, labels, step)
        return (x * float("nan") if step == 6 else x), t

    original = Classifier.augmented
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "augmented", poisoned)
        with pytest.raises(DivergenceError, match=r"nan at step 7 \(epoch 2 of 3") as error:
            fit(config, tmp_path / "run", source, progress=False)
    assert f"{tmp_path / 'run/checkpoints/last.ckpt'}, of step 4" in str(error.value)
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert all(v.isfinite().all() for v in checkpoint["state_dict"].values())


def test_a_validation_loss_that_is_none_stops_too(config, source, tmp_path, monkeypatch):
    original = Classifier.normalised

    def normalised(self, images):
        x = original(self, images)
        return x if self.training or self.current_epoch == 0 else x * float("inf")

    monkeypatch.setattr(Classifier, "normalised", normalised)
    with pytest.raises(DivergenceError, match=r"the validation loss is nan at step 8 .*of step 4"):
        fit(config, tmp_path / "run", source, progress=False)


def test_no_checkpoint_holds_weights_that_are_not_finite(config, source):
    model = bare.start(config, source)
    module = Classifier(model, 4, config, source.preprocessing, steps=4)
    checkpoint: dict = {}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint
    torch.nn.init.constant_(model.get_parameter("fc.bias"), float("inf"))
    with pytest.raises(NotFiniteError, match="a weight is not finite"):
        module.on_save_checkpoint(checkpoint)


def test_a_folder_that_holds_something_is_left_alone(config, source, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"run is not empty: name another"):
        fit(config, run, source)
    assert [p.name for p in run.iterdir()] == ["thesis.tex"]


def test_so_is_a_run(config, source, tmp_path, monkeypatch, signal_at):
    with monkeypatch.context():
        signal_at(5, signal.SIGINT)
        with pytest.raises(Interrupted):
            fit(config, tmp_path / "run", source, progress=False)
        monkeypatch.undo()
    with pytest.raises(ValueError, match=r"has not finished: resume it .*senet train --resume"):
        fit(config, tmp_path / "run", source)
    fit(config, tmp_path / "run", source, resume=True, progress=False)
    with pytest.raises(ValueError, match="holds a finished run, which is never overwritten"):
        fit(config, tmp_path / "run", source)


def test_a_file_in_place_of_the_folder(config, source, tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(ValueError, match="is a file: name another"):
        fit(config, tmp_path / "run", source)
    with pytest.raises(NotADirectoryError, match="cannot write to the output folder"):
        fit(config, tmp_path / "run" / "below", source)


def test_too_little_disk_is_said_before(config, source, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(
        OSError, match=r"too little disk space: .* about .* MB, but only 1 kB are free"
    ):
        fit(config, tmp_path / "run", source)
    assert not (tmp_path / "run").exists()


def test_a_disk_that_fills_up_is_named_and_nothing_is_half_written(tmp_path):
    # The system refuses files of more than 10 kB, as a full disk would; checkpoints are larger.
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), "1", "fashion-mnist"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1
    assert "the run could not be written" in done.stderr
    assert "no checkpoint yet" in done.stderr
    assert f"senet train --resume {tmp_path / 'run'}" in done.stderr
    assert list((tmp_path / "run/checkpoints").iterdir()) == []


def test_a_batch_larger_than_the_data(config, source, tmp_path):
    large = replace(config, batch_size=100, epochs=2)
    result = fit(large, tmp_path / "run", source, progress=False)
    assert result.steps == 2  # all 64 images at once
    assert fit(large, tmp_path / "run", source, resume=True, progress=False) == result


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_here(config, source, tmp_path):
    with pytest.raises(ValueError, match="device='cuda' is not available here"):
        fit(replace(config, device="cuda"), tmp_path / "run", source)
    assert not (tmp_path / "run").exists()


# --- fine-tuning ----------------------------------------------------------------------------------


def test_fine_tuning_keeps_the_body_and_takes_a_new_head(config, source, tmp_path, capsys):
    fit(config, tmp_path / "first", source, progress=False)
    two = replace(
        source, classes=("north", "south"),
        **{s: halves(getattr(source, s)) for s in ("train", "val", "test")},
    )  # fmt: skip
    file = str(tmp_path / "first/model.safetensors")
    fit(replace(config, weights=file, lr=1e-12, epochs=1, probe=False), tmp_path / "second", two)
    assert "the classifier is new, for 2 other classes" in capsys.readouterr().out
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert second["fc.weight"].shape == (2, 8)
    for name in first:
        if "conv" in name:
            torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-8)


def test_rows_of_the_classifier_go_by_the_names_of_classes(config, source, tmp_path, capsys):
    """One class has another name, and the others have other numbers: as many as there were."""
    fit(config, tmp_path / "first", source, progress=False)
    file = str(tmp_path / "first/model.safetensors")
    other = replace(source, classes=("south-west", "zenith", "north-west", "south-east"))
    config = replace(config, weights=file, lr=1e-12, epochs=1, probe=False)
    fit(config, tmp_path / "second", other)
    said = capsys.readouterr().out
    assert "keeps its rows for 3 classes ('south-west', 'north-west', 'south-east')" in said
    assert "has new ones for 1 ('zenith')" in said
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    fresh = bare.start(config, other).state_dict()
    for name in "fc.weight", "fc.bias":
        expected = torch.stack([first[name][2], fresh[name][1], first[name][0], first[name][3]])
        torch.testing.assert_close(second[name], expected, rtol=0, atol=1e-8)


def test_weights_that_do_not_name_their_classes_keep_all_rows_or_none(
    config, source, tmp_path, capsys
):
    model = bare.start(replace(config, seed=3), source)
    torch.save(model.state_dict(), tmp_path / "unnamed.pt")
    given = str(tmp_path / "unnamed.pt")
    config = replace(config, weights=given, lr=1e-12, epochs=1, probe=False)
    fit(config, tmp_path / "run", source)
    assert "in the order of the weights, which do not name them" in capsys.readouterr().out
    torch.testing.assert_close(
        weights(tmp_path / "run")["fc.weight"], model.get_parameter("fc.weight").detach()
    )


def halves(split):
    changed = split.subset(np.arange(len(split)))
    changed.labels[:] = changed.labels // 2
    return changed


def test_weights_bring_the_options_that_their_network_needs(config, source, tmp_path):
    fit(config, tmp_path / "first", source, progress=False)
    file = str(tmp_path / "first/model.safetensors")
    unsaid = replace(config, options={}, weights=file, epochs=1)
    result = fit(unsaid, tmp_path / "second", source, progress=False)
    begun = TrainConfig.from_dict(RunFolder(tmp_path / "second").read_config())
    assert begun.options == config.options
    # The run resumes with the same configuration, even if the weights are no longer there.
    (tmp_path / "first/model.safetensors").unlink()
    assert fit(unsaid, tmp_path / "second", resume=True, progress=False) == result
    asked = replace(unsaid, options={"reduction": 4})
    with pytest.raises(ValueError, match="options: "):
        fit(asked, tmp_path / "second", resume=True, progress=False)


def test_weights_bring_their_preprocessing(tmp_path):
    model = create_model("se_resnet8_cifar", num_classes=2, in_channels=1)
    grey = Preprocessing(20, mean=(0.3,), std=(0.2,))
    save_model(tmp_path / "x.safetensors", model, Record(model.architecture, grey))
    config = TrainConfig(weights=str(tmp_path / "x.safetensors"), limit=200, batch_size=8)
    assert training_images(config).preprocessing == grey


def test_fine_tuning_from_a_checkpoint_of_lightning(config, source, tmp_path, capsys):
    fit(config, tmp_path / "first", source, progress=False)
    file = str(tmp_path / "first/checkpoints/last.ckpt")
    again = replace(config, weights=file, lr=1e-12, epochs=1, probe=False)
    fit(again, tmp_path / "second", source)
    assert "keeps its rows for all 4 classes, by name" in capsys.readouterr().out
    torch.testing.assert_close(
        weights(tmp_path / "second")["fc.weight"], weights(tmp_path / "first")["fc.weight"]
    )


def test_weights_of_another_network_are_refused_with_the_keys(config, source, tmp_path):
    other = create_model("resnet8_cifar", num_classes=4, in_channels=1, widths=(4, 4, 8))
    torch.save(other.state_dict(), tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"does not fit se_resnet8_cifar:\n.*missing: .*se\.fc1"):
        fit(replace(config, weights=str(tmp_path / "other.pt")), tmp_path / "run", source)
    assert not (tmp_path / "run").exists()


def test_a_pickle_is_refused(config, source, tmp_path):
    torch.save({"model": print}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="was refused"):
        fit(replace(config, weights=str(tmp_path / "evil.pt")), tmp_path / "run", source)


# --- what is shown --------------------------------------------------------------------------------


def test_a_line_an_epoch_and_nothing_else(config, source, tmp_path, capfd, recwarn):
    fit(config, tmp_path / "run", source)
    out, errors = capfd.readouterr()
    assert errors == ""
    lines = out.splitlines()
    assert len(lines) == 3
    for i, line in enumerate(lines, 1):
        assert re.fullmatch(
            rf"epoch {i}/3: loss \d\.\d+, accuracy [\d.]+%, validation \d\.\d+ [\d.]+%, "
            r"[\d.]+ s, [\d.]+ ms a step",
            line,
        )
    assert [str(w.message) for w in recwarn if w.category is not DeprecationWarning] == []


def test_a_folder_is_described_before_it_is_trained_on(config, tmp_path, capfd):
    photos = photo_folder(tmp_path / "photos", dark=20, bright=10)
    config = replace(config, data=str(photos), size=8, batch_size=4, workers=0, epochs=1)
    fit(config, tmp_path / "run")
    lines = capfd.readouterr().out.splitlines()
    assert lines[:6] == [
        "photos: 30 images of 2 classes, 24 × 20 pixels",
        "",
        "class   train    val   test",
        "bright      7      1      2",
        "dark       14      2      4",
        "all        21      3      6",
    ]
    assert lines[7].startswith("starting from weights is nearly always better")
    del lines[7:10]
    assert re.fullmatch(
        r"se_resnet8_cifar: [\d,]+ parameters, for images of 8 × 8 pixels; on cpu, 1 thread",
        lines[7],
    )
    assert lines[8:11] == ["1 epoch of 5 steps of 4 images", f"run folder {tmp_path / 'run'}", ""]
    assert lines[11].startswith("epoch 1/1: ")


def test_many_classes_are_summed_up(source):
    labels = np.arange(64) % 30
    many = replace(source, classes=tuple(map(str, range(30))), val=None)
    many.train.labels, many.test.labels = labels, np.arange(40) % 30
    assert found_images(many) == [
        "quadrants: 104 images of 30 classes, 8 × 8 pixels",
        "64 train, 40 test; each class has 2 to 3 training images",
    ]


def test_silence(config, source, tmp_path, capfd):
    fit(config, tmp_path / "run", source, progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("wanted", [True, False])
def test_a_network_is_accelerated_unless_that_is_declined(
    config, source, tmp_path, wanted, monkeypatch
):
    seen = []
    original = Classifier.on_train_epoch_start

    def look(self):
        seen.append(self.module._compiled_call_impl is not None)
        original(self)

    monkeypatch.setattr(Classifier, "on_train_epoch_start", look)
    config = replace(config, epochs=1, accelerate=wanted)
    fit(config, tmp_path / "run", source, progress=False)
    assert seen == [wanted]
    said = json.loads((tmp_path / "run" / "config.json").read_text())
    assert said["config"]["accelerate"] is wanted
