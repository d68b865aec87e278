"""`senet train`, `compare`, and the commands that use a trained network."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.command import TINY, said, senet


def stripes(rng, upright):
    """A photo of stripes of any phase, width and colour: learned in seconds, easy to tell apart."""
    height, width = rng.integers(40, 60, 2)
    y, x = np.mgrid[:height, :width]
    wave = np.sin((x if upright else y) * rng.uniform(0.5, 1.0) + rng.uniform(0, 6))
    colour = rng.uniform(60, 127, 3)
    return Image.fromarray((128 + wave[..., None] * colour).clip(0, 255).astype(np.uint8))


def stripe_folder(path, images, seed):
    rng = np.random.default_rng(seed)
    for name in ("across", "upright"):
        (path / name).mkdir(parents=True)
        for i in range(images):
            stripes(rng, name == "upright").save(path / name / f"{i}.jpg", quality=90)
    return path


@pytest.mark.slow
def test_a_folder_of_photos_trains_evaluates_predicts_and_fine_tunes(tmp_path):
    photos = stripe_folder(tmp_path / "photos", 60, seed=0)
    (photos / "across" / "torn.jpg").write_bytes((photos / "across" / "0.jpg").read_bytes()[:600])
    trained = senet(
        *("train", "--data", photos, "--out", "run", *TINY, "--set", "size=32"),
        *("--epochs", "8", "--batch-size", "16", "--lr", "0.1", "--workers", "0"),
    )
    assert "warning: 1 of 121 files" in trained.stderr
    assert "torn.jpg" in trained.stderr
    assert re.search(
        r"test accuracy [\d.]+ % \(95 % interval [\d.]+ … [\d.]+; \d+ of", trained.stdout
    )
    assert "senet evaluate run" in trained.stdout

    evaluated = json.loads(senet("evaluate", "run", "--json", "--workers", "0").stdout)
    result = json.loads(Path("run/result.json").read_text())
    assert evaluated["accuracy"] == result["test_accuracy"] > 0.9
    low, high = evaluated["accuracy_95"]
    assert low < evaluated["accuracy"] <= high
    text = senet("evaluate", "run", "--split", "train", "--workers", "0").stdout
    assert text.startswith("train accuracy ")
    assert re.search(r"(?m)^upright +[\d.]+ % +█+", text)
    assert "top-5" not in text  # of two classes

    new = stripe_folder(tmp_path / "new", 10, seed=1)
    (new / "upright" / "notes.txt").write_text("no image, and nobody asks about it")
    (new / "upright" / "bad.jpg").write_bytes(b"no image")
    predicted = senet("predict", "run", "new", "gone.png", "--format", "json")
    assert "warning: a file is not an image, and was skipped: new/upright/notes.txt" in said(
        predicted
    )
    rows = json.loads(predicted.stdout)
    assert [r["file"] for r in rows if r["error"]] == ["new/upright/bad.jpg", "gone.png"]
    right = [r["class"] == Path(r["file"]).parent.name for r in rows if not r["error"]]
    assert len(right) == 20
    assert np.mean(right) > 0.9
    written = senet("predict", "run/model.safetensors", "new", "--out", "answers.csv")
    assert "20 of 21 images predicted, written to answers.csv" in written.stdout
    assert len(Path("answers.csv").read_text().splitlines()) == 22
    assert "already exists" in senet("predict", "run", "new", "--out", "answers.csv", code=1).output
    assert "not an image" in said(senet("predict", "run", "new/upright/bad.jpg", code=1))

    # Fine-tuning takes the network and its options from the weights.
    tuned = senet(
        *("train", "--data", photos, "--weights", "run", "--out", "tuned", "--set", "warmup=0"),
        *("--set", "size=32", "--epochs", "1", "--batch-size", "16", "--workers", "0"),
    )
    assert (
        "starting from run/model.safetensors: the classifier keeps its rows for all 2"
        in tuned.stdout
    )
    config = json.loads(Path("tuned/config.json").read_text())["config"]
    assert config["model"] == "se_resnet8_cifar"
    assert config["options"] == {"widths": [8, 8, 16], "reduction": 4}
    assert "which is never overwritten" in senet("train", "--out", "tuned", code=1).output


@pytest.mark.slow
def test_results_for_programs_are_utf_8_whatever_the_terminal(tmp_path):
    from senet.models import Preprocessing, create_model
    from senet.models.weights.file import save_model
    from senet.models.weights.record import Record

    model = create_model("resnet8_cifar", num_classes=2, widths=(4, 4, 4))
    preprocessing = Preprocessing(8, mean=(0.5,) * 3, std=(0.2,) * 3)
    save_model("model.safetensors", model, Record(model.architecture, preprocessing, ("æ", "ø")))
    Image.new("RGB", (8, 8)).save("日本語.png")
    for format in "csv", "json":
        done = subprocess.run(
            [sys.executable, "-m", "senet", "predict", "model.safetensors", "日本語.png",
             "--format", format],
            capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "cp1252"},
        )  # fmt: skip
        assert "日本語.png" in done.stdout.decode("utf-8")
        assert "æ" in done.stdout.decode("utf-8")


@pytest.mark.slow
def test_a_comparison_prints_its_verdict_and_writes_its_page():
    words = ["--limit", "200", "--epochs", "1", "--batch-size", "64", "--out", "both"]
    text = senet("compare", *TINY, *words).stdout
    assert re.search(r"(?m)^resnet8_cifar +[\d.]+ % +[\d.]+ … [\d.]+ +[\d,]+ ", text)
    assert re.search(r"(?m)^se_resnet8_cifar +[\d.]+ %", text)
    assert "test images" in text
    page = Path("both/report.html")
    assert str(page) in text
    page.unlink()
    assert senet("report", "both").stdout.strip() == str(page)
    assert page.stat().st_size > 10_000
    assert (
        "seeds: (0,), not (0, 1)"
        in senet("compare", "--resume", "both", "--seeds", 2, code=1).output
    )


@pytest.mark.slow
def test_a_family_prints_its_table_and_goes_on_with_the_same_values():
    words = ["--limit", "200", "--epochs", "1", "--batch-size", "64", "--out", "family"]
    text = senet("compare", *TINY, *words, "--vary", "se-stages=2,3+4").stdout
    assert "[3/3] se_resnet8_cifar-se_stages=3+4, seed 0" in text
    for label in ("plain", "2", r"3\+4"):
        accuracy = r"[\d.]+ % +[\d.]+ … [\d.]+ "
        difference = "" if label == "plain" else r" +[+−]?[\d.]+ +[+−]?[\d.]+ … [+−]?[\d.]+ "
        assert re.search(rf"(?m)^{label} +{accuracy}{difference} +[\d,]+ +[\d.]+ *$", text)
    assert "Of the networks with SE, the most accurate, se_stages=" in re.sub(r"\s+", " ", text)
    page = Path("family/report.html")
    assert str(page) in text
    page.unlink()
    again = senet("compare", "--resume", "family").stdout  # nothing is left to train
    assert "[1/3]" not in again
    assert page.is_file()
    other = senet("compare", "--resume", "family", "--vary", "se_stages=2", code=1)
    assert "vary: se_stages=2,3+4, not se_stages=2" in other.output


@pytest.mark.slow
def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(tmp_path):
    words = [*TINY, "--limit", "200", "--epochs", "500", "--batch-size", "64", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "senet", "train", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    )
    guard = threading.Timer(120, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        assert any(line.startswith("epoch ") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    finally:
        guard.cancel()
    assert process.returncode == 130
    assert "senet train --resume run" in errors
    assert "Traceback" not in errors
    assert Path("run/checkpoints/last.ckpt").is_file()
    assert "has not finished" in senet("predict", "run", "a.jpg", code=1).output


def test_names_with_brackets_and_blanks_are_printed_as_they_are(monkeypatch):
    from senet.runs.folder import RunResult

    result = RunResult(Path("x"), "m", 0, 0.5, 1.0, 10, 1, 1, 1.0, 1.0)
    monkeypatch.setattr("senet.training.fit.fit", lambda *_, **__: result)
    text = senet("train", "--out", "my [red]run").stdout
    assert "run folder my [red]run" in text
    assert "senet evaluate 'my [red]run'" in text


@pytest.mark.parametrize("name", ["runs/short", "runs/" + 90 * "long"])
def test_closing_hints_are_whole_however_long_the_name_of_the_run(monkeypatch, name):
    from senet.runs.folder import RunResult

    monkeypatch.setenv("COLUMNS", "80")
    result = RunResult(Path("x"), "m", 0, 0.5, 1.0, 10, 1, 1, 1.0, 1.0)
    monkeypatch.setattr("senet.training.fit.fit", lambda *_, **__: result)
    lines = senet("train", "--out", name).stdout.splitlines()
    assert any(line.strip().startswith(f"senet evaluate {name}") for line in lines)
    hints = [line for line in lines if "senet" not in line and "run folder" not in line]
    assert all(len(line) <= 80 for line in hints)
    assert ("  the accuracy on each class:" in lines) == (len(name) > 80)
