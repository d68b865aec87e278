"""The command: what it does without a GPU, and at small scale."""

import json

import pytest
import torch

from benchmarks.gpu import tests
from benchmarks.gpu.__main__ import main

SMALL = ["--device", "cpu", "--small", "--seeds", "1", "--epochs", "1"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_it_says_that_it_needs_one(capsys):
    assert main(["networks"]) == 1
    said = capsys.readouterr().err
    assert "needs a GPU" in said
    assert "--device cpu --small" in said


def test_a_cpu_makes_no_evidence(capsys):
    assert main(["passes", "--device", "cpu"]) == 1
    assert "--device cpu --small" in capsys.readouterr().err


@pytest.mark.slow
def test_small_scale_leaves_records_that_are_taken_up_again(tmp_path, capsys):
    folder = ["--folder", str(tmp_path)]
    for stage in ("passes", "training"):
        assert main([stage, *SMALL, *folder]) == 0
        (path,) = tmp_path.glob(f"*-cpu-gpu-{stage}.json")
        before = json.loads(path.read_text())
        assert before["tables"][f"gpu-{stage}"]
        assert {"device", "torch", "commit", "code", "triton", "date"} <= set(before["environment"])
        assert main([stage, *SMALL, *folder]) == 0
        assert json.loads(path.read_text()) == before


@pytest.mark.slow
def test_a_red_test_ends_it_before_any_speed_is_measured(tmp_path, capsys, monkeypatch):
    red = tmp_path / "test_red.py"
    red.write_text("def test_wrong():\n    assert False\n")
    monkeypatch.setattr(tests, "SMALL", (str(red),))
    assert main(["all", *SMALL, "--folder", str(tmp_path)]) == 1
    assert "tests fail in" in capsys.readouterr().err
    (path,) = tmp_path.glob("*.json")
    (row,) = json.loads(path.read_text())["tables"]["gpu-tests"]
    assert row["failed"] == 1
    assert row["red"][0].endswith("test_red.py::test_wrong")


def test_weights_need_a_training(tmp_path, capsys):
    assert main(["weights", "--folder", str(tmp_path)]) == 1
    assert "training" in capsys.readouterr().err
