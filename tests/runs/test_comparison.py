"""``comparison.json`` reads back as it was written."""

import json

import pytest

from senet.data.walk import is_run
from senet.runs.comparison import ComparisonFolder, Network
from senet.runs.predictions import Predictions
from senet.runs.read import Twins, Variation, read
from tests.runs.written import PLAIN, SE, recipe, write_run

PAIR = {PLAIN: Network(PLAIN, None, None), SE: Network(SE, PLAIN, None)}
FAMILY = {
    PLAIN: Network(PLAIN, None, None),
    f"{SE}-reduction=2": Network(SE, PLAIN, "2"),
    f"{SE}-reduction=4": Network(SE, PLAIN, "4"),
}


@pytest.fixture
def folder(tmp_path):
    return ComparisonFolder(tmp_path)


def test_a_pair(folder, source):
    folder.write(PLAIN, SE, PAIR, (0, 1), None, "photos", recipe(SE, 0), finished=False)
    assert is_run(folder.path)
    assert list(folder.read()) == ["plain", "se", "seeds", "runs", "data", "config", "finished"]
    write_run(folder.run(PLAIN, 1).path, source, PLAIN, 1)
    found = read(folder.path)
    assert isinstance(found, Twins)
    assert (found.plain, found.se, found.seeds, found.cost) == (PLAIN, SE, (0, 1), None)
    assert [run is None for run in found.runs[PLAIN]] == [True, False]


def test_a_family_and_its_costs(folder):
    vary = {"option": "reduction", "values": [2, 4]}
    folder.write(PLAIN, SE, FAMILY, (3,), vary, "photos", recipe(SE, 3), finished=True)
    folder.write_cost({name: {"parameters": 1} for name in FAMILY})
    found = read(folder.path)
    assert isinstance(found, Variation)
    assert (found.option, found.networks) == ("reduction", FAMILY)
    assert found.config == json.loads(json.dumps(recipe(SE, 3)))
    assert found.cost == {name: {"parameters": 1} for name in FAMILY}
    assert json.loads(folder.file.read_text())["runs"] == {n: [f"{n}-seed3"] for n in FAMILY}


def test_predictions_are_read_as_they_were_written(one_seed, tmp_path):
    found = read(one_seed / f"{SE}-seed0")
    assert found.predictions is not None
    found.predictions.write(tmp_path / "predictions.npz")
    again = Predictions.read(tmp_path / "predictions.npz")
    assert (again.labels == found.predictions.labels).all()
    assert (again.logits == found.predictions.logits).all()
