"""Results of trainings and trained networks, at the widths of usual terminals."""

import re

import pytest
from rich.cells import cell_len
from torch import nn

from senet.analysis.subject import Subject
from senet.analysis.variation import rows
from senet.cli import results, tables
from senet.data import open_source
from senet.graph.report import Report
from senet.paired import accuracy
from senet.runs.read import read
from senet.serving import Prediction
from tests.runs.written import LIMIT, PLAIN, SE, write_comparison, write_variation

WIDTHS = pytest.mark.parametrize("width", [80, 100, 160])
LONG = "/photos/of/somebody/with/many/folders/and/long/names/of/files/IMG_20260101_0001.jpg"


@pytest.fixture(scope="module")
def source():
    return open_source("fashion-mnist", limit=LIMIT)


@pytest.fixture
def lines(capsys, monkeypatch):
    """``lines(show, width)``: what is printed in a terminal of this many columns."""

    def run(show, width):
        monkeypatch.setenv("COLUMNS", str(width))
        show()
        return capsys.readouterr().out.splitlines()

    return run


@WIDTHS
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_a_comparison_of_twins(source, tmp_path, lines, width, seeds):
    folder = write_comparison(tmp_path / "both", source, seeds)
    printed = lines(lambda: results.show_comparison(folder), width)
    commands = [line for line in printed if line.startswith("To see all: ")]  # never broken
    assert max(cell_len(line) for line in printed if line not in commands) <= width
    for row, name in zip(rows(Subject.of(read(folder))), (PLAIN, SE), strict=True):
        (line,) = (one for one in printed if re.match(rf"{name} +[\d.]+ %", one))
        cells = re.split(r"  +", line)
        assert cells[1] == f"{100 * row.accuracy:.1f} %"
        assert cells[3] == f"{row.cost['parameters']:,.0f}"
        if len(seeds) == 1:
            sure = accuracy(*row.right)
            assert cells[2] == f"{100 * sure.low:.1f} … {100 * sure.high:.1f}"
        else:
            assert cells[2].startswith("± ")


@WIDTHS
def test_a_family(source, tmp_path, lines, width):
    folder = write_variation(tmp_path / "family", source, "reduction", [1, 2, 4])
    printed = lines(lambda: results.show_comparison(folder), width)
    commands = [line for line in printed if line.startswith("To see all: ")]  # never broken
    assert max(cell_len(line) for line in printed if line not in commands) <= width
    for label in ("plain", "1", "2", "4"):
        assert any(re.match(rf"{label} +[\d.]+ % ", line) for line in printed)


def test_a_name_of_a_network_is_whole_where_nothing_else_has_room(source, tmp_path, lines):
    folder = write_comparison(tmp_path / "both", source)
    printed = lines(lambda: results.show_comparison(folder), 30)
    assert any(re.fullmatch(rf"{SE} +[\d.]+ %", line) for line in printed)
    assert f"To see all: senet report {folder}" in printed


@WIDTHS
def test_an_evaluation(lines, width):
    found = {
        "accuracy": 0.75, "images": 200, "split": "test", "top5": None, "loss": 0.5, "new": None,
        "seen": 0, "class_accuracy": {"a [class] " + 40 * "x": 0.5, "b": 1.0, "c": None},
    }  # fmt: skip
    printed = lines(lambda: results.show_evaluation(found), width)
    assert max(map(cell_len, printed)) <= width
    assert any(re.match(r"a \[class\] x{40} +50\.0 %", line) for line in printed)
    assert any(re.match(r"b +100\.0 %", line) for line in printed)
    assert any("█" * 30 in line for line in printed) == (width >= 100)


@WIDTHS
def test_predictions(lines, width):
    answers = [
        Prediction(LONG, (("cat", 0.9), ("dog", 0.06), ("a kind of newt", 0.04))),
        Prediction("photos/[red]c.jpg", (("[bold]newt", 0.99999), ("cat", 0.00001))),
        Prediction("bad.jpg", error="the file is empty"),
    ]
    printed = lines(lambda: results.show_predictions(answers), width)
    assert sum(line.startswith(LONG) for line in printed) == 1  # whole, whatever the width
    assert any(re.match(r"photos/\[red\]c\.jpg +\[bold\]newt +> 99\.9 %", x) for x in printed)
    text = re.sub(r"\s+", " ", " ".join(printed))
    assert "the file is empty" in text or width < 160
    assert ("a kind of newt 4.0 %" in text) == (width == 160)
    short = lines(lambda: results.show_predictions(answers[1:]), width)
    assert max(map(cell_len, short)) <= width
    assert any(re.match(r"bad\.jpg +the file is empty$", line) for line in short)


@WIDTHS
def test_surgery(lines, width):
    report = Report("operated on Net", nn.Identity())
    path = "a.module.that.is.deep.inside.a.network.of.somebody.else"
    report.add(path, "norm + ReLU + SE", done="on the passes")
    report.add(path, "product", why="it is used by something else, and so it has to stay as it is")
    printed = lines(lambda: tables.show_surgery(report), width)
    assert max(map(cell_len, printed)) <= width
    assert printed[0] == "operated on Net: 1 place changed"
    assert any(re.match(r"norm \+ ReLU \+ SE +1 +on the passes", line) for line in printed)
    whole = re.sub(r"\s+", " ", " ".join(printed))
    assert width < 160 or "left alone: it is used by something else, and so" in whole
    assert sum(path in line for line in printed) in (0, 2)


@WIDTHS
def test_times(lines, width):
    times = {"inference": {"as it was": 20.0, "with SE": 25.0, "and accelerated": 10.0}}
    printed = lines(lambda: tables.show_times(times, 224, 16), width)
    assert max(map(cell_len, printed)) <= width
    assert re.search(r"inference +20 \(1\.00×\) +25 \(0\.80×\) +10 \(2\.00×\)", printed[-1])
