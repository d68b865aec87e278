"""The forms of the networks that are measured, their order, and when it stops."""

from dataclasses import asdict

import pytest
import torch

from benchmarks.gpu import networks
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.networks import Case
from benchmarks.ledger import Ledger

CPU = torch.device("cpu")


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path, "gpu-networks", {"date": "2026-01-02"}, "cpu")


@pytest.fixture
def measured(monkeypatch):
    """The rows that are requested; none is really measured."""
    asked = []

    def row(case, *_):
        asked.append(case)
        return {"ms": 1.0, "batch": 2}

    monkeypatch.setattr(networks, "_row", row)
    return asked


def test_a_training_step_comes_first_with_all_it_is_held_against():
    cases = networks.cases(small=False)
    assert [case.form for case in cases[:4]] == ["ours", "plain", "timm eager", "timm compiled"]
    assert {(case.mode, case.graph) for case in cases[:4]} == {("training", False)}
    assert len(set(cases)) == len(cases) == 16


def test_a_row_that_is_there_is_not_measured_again(ledger, measured):
    done, *rest = networks.cases(small=False)
    ledger.put({**asdict(done), "ms": 2.0}, asdict(done))
    networks.run(ledger, Budget(60), CPU, small=False)
    assert measured == rest


def test_what_is_too_long_for_the_time_left_gives_way(ledger, measured):
    networks.run(ledger, Budget(0.9), CPU, small=False)
    assert measured == [c for c in networks.cases(small=False) if c.form != "timm compiled"]
    networks.run(ledger, Budget(10**4), CPU, small=False)  # and is measured the next time
    assert set(measured) == set(networks.cases(small=False))


@pytest.mark.slow
def test_a_network_of_ours_is_really_measured(ledger):
    for form, mode in (("ours", "training"), ("plain", "inference")):
        row = networks._row(Case(form, mode, False), CPU, small=True)
        assert row["ms"] > 0
        assert ("loss" in row) == (mode == "training")


@pytest.mark.slow
def test_a_network_of_timm_is_really_measured(world):
    assert networks._row(Case("timm eager", "training", False), CPU, small=True)["ms"] > 0
