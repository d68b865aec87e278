"""The command: what it does without a GPU, and at small scale."""

import json
import subprocess

import pytest
import torch

from benchmarks.gpu import __main__ as module
from benchmarks.gpu import tests
from benchmarks.gpu.__main__ import main

SMALL = ["--device", "cpu", "--small"]


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
def test_small_scale_leaves_records_that_are_taken_up_again(tmp_path):
    for stage in ("passes", "training"):
        assert main([stage, *SMALL, "--folder", str(tmp_path)]) == 0
        (path,) = tmp_path.glob(f"*-cpu-gpu-{stage}.json")
        before = json.loads(path.read_text())
        assert before["tables"][f"gpu-{stage}"]
        assert {"device", "torch", "commit", "code", "triton", "date"} <= set(before["environment"])
        assert main([stage, *SMALL, "--folder", str(tmp_path)]) == 0
        assert json.loads(path.read_text()) == before


@pytest.mark.slow
def test_a_red_test_is_reported(tmp_path, monkeypatch, capsys):
    red = tmp_path / "tests" / "test_red.py"
    red.parent.mkdir()
    red.write_text("def test_wrong():\n    assert False\n\ndef test_right():\n    pass\n")
    monkeypatch.setattr(tests, "ROOT", tmp_path)
    monkeypatch.setattr(tests, "SMALL", {"all": ["tests/test_red.py"]})
    assert main(["tests", *SMALL, "--folder", str(tmp_path)]) == 1
    (path,) = tmp_path.glob("*.json")
    (row,) = json.loads(path.read_text())["tables"]["gpu-tests"]
    assert (row["passed"], row["failed"]) == (1, 1)
    assert row["red"] == ["tests/test_red.py::test_wrong"]
    assert "tests/test_red.py::test_wrong" in capsys.readouterr().out


@pytest.fixture
def begun(monkeypatch):
    """The stages that are begun, with their minutes and backend; none is really run."""
    found = []

    def run(command, env, timeout, check):
        found.append((command[3], float(command[-1]), env.get("SENET_BACKEND")))
        return subprocess.CompletedProcess(command, command[3] == "tests" and red[0])

    red = [0]
    monkeypatch.setattr(module.subprocess, "run", run)
    return found, red


def test_every_stage_has_its_minutes(begun):
    found, _ = begun
    assert main([]) == 0
    assert [stage for stage, *_ in found] == list(module.STAGES)
    minutes = [minutes for _, minutes, _ in found]
    assert minutes[:4] == [3.0, 0.75, 1.25, 3.0]
    assert 13 < minutes[-1] < 14  # what is left: the others took no time here


def test_without_right_kernels_all_else_runs_on_plain_pytorch(begun):
    found, red = begun
    red[0] = 1
    assert main([]) == 1
    assert [backend for *_, backend in found] == [None, *["eager"] * 4]


def test_the_tests_that_are_named_are_there():
    named = {test.partition("[")[0] for group in tests.GROUPS.values() for test in group}
    for test in named:
        file, _, name = test.partition("::")
        assert f"def {name}" in (tests.ROOT / file).read_text(encoding="utf-8")
