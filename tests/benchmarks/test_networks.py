"""The networks that are measured, their order, and when it stops."""

from dataclasses import asdict

import pytest
import torch

from benchmarks.gpu import networks
from benchmarks.gpu.budget import Budget
from benchmarks.ledger import Ledger

CPU = torch.device("cpu")


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path, "gpu-networks", {"date": "2026-01-02"}, "cpu")


@pytest.fixture
def measured(monkeypatch):
    """The rows that are requested; none is really measured."""
    asked = []
    monkeypatch.setattr(networks, "_row", lambda case, *_: asked.append(case) or {"ms": 1.0})
    return asked


def test_what_is_worth_most_comes_first():
    cases = networks.cases()
    first = cases[0]
    assert (first.network, first.form, first.mode, first.batch) == (
        "seresnet50", "ours", "training", 128,
    )  # fmt: skip
    assert len(set(cases)) == len(cases)
    whole = {c.form for c in cases[:12]}
    assert whole == {
        "ours", "plain", "accelerated", "timm eager", "timm compiled", "timm max-autotune",
        "ours compiled",
    }  # fmt: skip
    assert all((c.network, c.mode, c.batch) == ("seresnet50", "training", 128) for c in cases[:12])
    slow = [c.form == "timm max-autotune" for c in cases[12:]]
    assert slow == sorted(slow)


def test_every_network_has_something_to_be_held_against():
    cases = networks.cases()
    for network in networks.NETWORKS:
        forms = {c.form for c in cases if c.network == network}
        assert forms & {"ours", "accelerated"}
        assert {"timm eager", "timm compiled", "timm max-autotune"} <= forms


def test_a_row_that_is_there_is_not_measured_again(ledger, measured):
    done, *rest = networks.cases()
    ledger.put({**asdict(done), "ms": 2.0}, asdict(done))
    networks.run(ledger, Budget(60), CPU, small=False)
    assert measured == rest


def test_it_stops_between_rows_before_the_time_is_over(ledger, measured):
    now = [0.0]

    def clock():
        now[0] += 30
        return now[0]

    networks.run(ledger, Budget(3, clock), CPU, small=False)
    assert 0 < len(measured) <= 6
    assert measured == networks.cases()[: len(measured)]
    networks.run(ledger, Budget(10**4), CPU, small=False)  # and continues there
    assert measured == networks.cases()


def test_what_is_too_long_for_the_time_left_gives_way(ledger, measured):
    networks.run(ledger, Budget(5), CPU, small=False)
    assert measured == [c for c in networks.cases() if c.form != "timm max-autotune"]


@pytest.mark.slow
def test_a_network_of_ours_is_really_measured(ledger, monkeypatch):
    cases = [c for c in networks.small_cases() if c.network == "se_resnet8_cifar"]
    monkeypatch.setattr(networks, "small_cases", lambda: cases)
    networks.run(ledger, Budget(1), CPU, small=True)
    rows = list(ledger)
    assert [row["form"] for row in rows] == ["ours", "ours", "plain", "plain"]
    assert all(row["ms"] > 0 for row in rows)
    assert all(row["loss"] > 0 for row in rows if row["mode"] == "training")


@pytest.mark.slow
def test_a_network_of_timm_is_accelerated_and_measured(ledger, world):
    case = next(c for c in networks.small_cases() if c.form == "accelerated")
    assert networks._row(case, CPU, small=True)["ms"] > 0
