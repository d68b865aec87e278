"""Tables are made from records, and from nothing else."""

import json
import re

import numpy as np
import pytest

from benchmarks import document, record
from benchmarks.evidence import tables as evidence
from benchmarks.evidence.rows import packed
from benchmarks.gpu import tables

ENVIRONMENT = {
    "date": "2026-01-02", "device": "A GPU", "driver": "1.2", "torch": "2.11", "cuda": "13.0",
    "triton": "3.6", "code": "abc",
}  # fmt: skip


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Put a record with one table among the results."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(tables, "PICTURE", tmp_path / "results.svg")

    def write(table, rows):
        path = tmp_path / f"2026-01-02-a-gpu-{table}.json"
        path.write_text(json.dumps({"environment": ENVIRONMENT, "tables": {table: rows}}))

    return write


def lines(text):
    """Return the rows of a table as lists of cells, by the cells of its head."""
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines()
            if line.startswith("|")]  # fmt: skip
    head, _, *body = rows
    return [dict(zip(head, row, strict=True)) for row in body]


def test_every_table_says_where_it_comes_from(put):
    put("gpu-tests", [{"tests": "whole tails", "passed": 7, "failed": 1}])
    text = tables.tests()
    assert "A GPU, driver 1.2; torch 2.11, CUDA 13.0, Triton 3.6; code abc, 2026-01-02" in text
    assert lines(text) == [{"tests": "whole tails", "passed": "7", "failed": "1", "skipped": "0"}]


def test_a_backend_that_was_forced_is_named():
    text = tables.source({**ENVIRONMENT, "backends": ["eager: ready", "forced: eager"]}, "a.json")
    assert "2026-01-02. Backend forced: eager. Record: `a.json`" in text


def test_passes_are_shares_of_the_copy(put):
    rates = dict.fromkeys([*tables.passes_.MAPS, "large copy"], 1500.0) | {"large copy": 3000.0}
    rows = [
        {"shape": "8×8", "type": "bfloat16", "GB/s": rates},
        {"shape": "9×9", "type": "bfloat16", "out_of_memory": True},
    ]
    put("gpu-passes", rows)
    measured, not_measured = lines(tables.passes())
    assert measured["moments"] == "1500 (50 %)"
    assert not_measured["large copy, GB/s"] == "out of memory"


def test_tails_with_and_without_graphs(put):
    ms = {"SE, ours": 1.0, "SE, eager": 3.0, "SE, compiled": 1.5, "plain, ours": 1.0}
    ms |= {f"{name}, graph": value / 2 for name, value in ms.items()}
    put("gpu-tails", [{"kind": "tail", "shape": "8×8", "type": "bfloat16", "ms": ms}])
    without, with_ = lines(tables.tails())
    assert (without["graphs"], without["over eager"], without["SE over plain"]) == (
        "no", "3.00×", "+0.0 %",
    )  # fmt: skip
    assert (with_["graphs"], with_["SE, ours, ms"]) == ("yes", "0.500")


def test_networks_against_their_rivals(put):
    def row(form, graph, **found):
        return {"form": form, "mode": "training", "graph": graph, **found}

    put(
        "gpu-networks",
        [
            row("ours", False, ms=51.0, peak_mib=9000.4),
            row("plain", False, ms=50.0),
            row("timm eager", False, ms=80.0, peak_mib=14000),
            row("timm compiled", False, ms=60.0),
            row("ours", True, ms=49.0),
            row("timm eager", True, begun=True),
            row("timm compiled", True, out_of_memory=True),
        ],
    )
    plainly, graphed = lines(tables.networks())
    assert plainly["SE over plain"] == "+2.0 %"
    assert (plainly["over eager"], plainly["over compiled"]) == ("1.57×", "1.18×")
    assert plainly["MiB: ours"] == "9000"
    assert (graphed["plain twin"], graphed["timm compiled"]) == ("—", "out of memory")
    assert graphed["timm eager"] == "cut off"


def training(model, seed, right):
    last = {"epoch": 2, "test_accuracy": float(np.mean(right)), "test_loss": 1.0}
    return {
        "data": "cifar100", "model": model, "seed": seed, "recipe": "2 epochs",
        "reduction": 16 if model.startswith("se_") else None,
        "test_accuracy": last["test_accuracy"], "seconds": 60.0,
        "curve": [{**last, "epoch": 1, "test_accuracy": 0.1}, last],
        "right": packed(right), "test_images": len(right),
    }  # fmt: skip


def test_trainings_their_test_and_their_curves(put, tmp_path):
    images = np.arange(1000)
    rows = [
        training(model, seed, images < share + 10 * seed)
        for seed in (0, 1)
        for model, share in (("resnet56_cifar", 700), ("se_resnet56_cifar", 740))
    ]
    put("gpu-training", [*rows, training("se_resnet20_cifar", 0, images < 5)])
    text = tables.trainings()
    (line,) = lines(text)
    assert line["plain, test accuracy %"] == "70.50 ± 0.71"
    assert line["SE, test accuracy %"] == "74.50 ± 0.71"
    assert line["gain"] == "+4.00"
    assert "Over 2 seeds, se_resnet56_cifar (r = 16) was on average 4.0 percentage" in text
    assert "(results.svg)" in tables.curves()
    picture = (tmp_path / "results.svg").read_text()
    assert "cifar100, se_resnet56_cifar, r = 16, and plain" in picture
    assert tables.curves()
    assert (tmp_path / "results.svg").read_text() == picture


def test_no_pair_is_no_table(put):
    put("gpu-training", [training("se_resnet20_cifar", 0, np.arange(10) < 5)])
    with pytest.raises(FileNotFoundError, match="no pair"):
        tables.trainings()


def test_the_document_has_every_table_and_no_other():
    text = (document.DOCS / "results.md").read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- table: ([\w-]+) -->", text)) == {*tables.TABLES, *evidence.TABLES}


def test_a_table_that_was_never_measured_leaves_its_place_as_it_is(put):
    place = "<!-- table: gpu-networks -->\nnot measured yet\n<!-- end -->"
    assert document.BLOCK.sub(document._renewed, place) == place
