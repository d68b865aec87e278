"""Records that grow row by row."""

import json

import pytest
import torch

from benchmarks.ledger import Ledger

ENVIRONMENT = {"date": "2026-01-02", "code": "abc"}


def ledger(folder, device="h100", **options):
    return Ledger(folder, "gpu-passes", ENVIRONMENT, device, **options)


def test_a_row_is_on_disk_as_soon_as_it_is_measured(tmp_path):
    first = ledger(tmp_path)
    first.measure({"shape": 1}, lambda: {"ms": 2.0})

    def look():
        rows = json.loads(first.path.read_text())["tables"]["gpu-passes"]
        assert rows == [{"shape": 1, "ms": 2.0}, {"shape": 2, "begun": True}]
        return {"ms": 3.0}

    first.measure({"shape": 2}, look)
    assert [row["ms"] for row in ledger(tmp_path)] == [2.0, 3.0]


def test_the_key_of_a_row_is_all_of_its_fields(tmp_path):
    found = ledger(tmp_path)
    found.put({"a": 1, "b": None, "ms": 1.0}, {"a": 1, "b": None})
    assert {"a": 1, "b": None} in found
    assert {"a": 1, "b": 2} not in found
    assert {"a": 1, "c": None} not in found


def test_what_was_cut_off_stands_as_begun_until_it_is_asked_for_again(tmp_path):
    first = ledger(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        first.measure({"shape": 1}, _stopped)
    second = ledger(tmp_path)
    assert second.find({"shape": 1}) == {"shape": 1, "begun": True}
    second.forget_begun()
    assert {"shape": 1} not in second


def _stopped():
    raise KeyboardInterrupt


def test_what_does_not_fit_or_fails_is_a_result(tmp_path):
    found = ledger(tmp_path)

    def too_large():
        raise torch.OutOfMemoryError("CUDA out of memory")

    def wrong():
        raise RuntimeError("no such kernel\nand more")

    assert found.measure({"shape": 1}, too_large) == {"shape": 1, "out_of_memory": True}
    assert found.measure({"shape": 2}, wrong) == {
        "shape": 2,
        "failed": "RuntimeError: no such kernel",
    }
    assert len(ledger(tmp_path).rows) == 2


def test_figures_of_two_devices_never_share_a_record(tmp_path):
    ledger(tmp_path).measure({"shape": 1}, lambda: {"ms": 2.0})
    assert {"shape": 1} not in ledger(tmp_path, "h200")


def test_figures_of_other_code_are_not_added_to(tmp_path):
    ledger(tmp_path).measure({"shape": 1}, lambda: {"ms": 2.0})
    changed = Ledger(tmp_path, "gpu-passes", {**ENVIRONMENT, "code": "def"}, "h100")
    assert {"shape": 1} not in changed


def test_trainings_of_all_days_and_devices_are_taken_over_once(tmp_path):
    for device, date in (("h100", "2026-01-02"), ("h200", "2026-01-03")):
        found = Ledger(tmp_path, "gpu-passes", {"date": date}, device, earlier=True)
        found.put({"seed": device}, {"seed": device})
    merged = Ledger(tmp_path, "gpu-passes", {"date": "2026-01-04"}, "a100", earlier=True)
    assert merged.rows == [{"seed": "h100"}, {"seed": "h200"}]


def test_a_record_of_a_cpu_has_its_usual_name_and_the_rows_of_the_day(tmp_path):
    environment = {"date": "2026-01-02", "allocator": "of each row"}
    first = Ledger(tmp_path, "surgery", environment, "cpu")
    first.put(
        {"network": "timm:resnet50", "default": {"changed": 16}}, {"network": "timm:resnet50"}
    )
    assert first.path.name == "2026-01-02-cpu-surgery.json"
    assert {"network": "timm:resnet50"} in Ledger(tmp_path, "surgery", environment, "cpu")
    assert {"network": "timm:resnet18"} not in Ledger(tmp_path, "surgery", environment, "cpu")
