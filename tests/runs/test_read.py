"""Reading run folders: whole, unfinished and damaged ones."""

import json
import shutil

import numpy as np
import pytest

from senet.runs.comparison import Network
from senet.runs.predictions import Predictions
from senet.runs.read import Run, Twins, Variation, read
from tests.runs.written import PLAIN, SE, write_comparison, write_run, write_variation


@pytest.fixture
def folder(one_seed, tmp_path):
    """A copy of a comparison, to damage."""
    return shutil.copytree(one_seed, tmp_path / "run")


def test_a_comparison(three_seeds):
    found = read(three_seeds)
    assert isinstance(found, Twins)
    assert (found.plain, found.se, found.seeds) == (PLAIN, SE, (3, 4, 5))
    seeds, runs = found.finished()
    assert seeds == [3, 4, 5]
    assert [run.config["config"]["seed"] for run in runs[SE]] == [3, 4, 5]
    assert found.missing == []
    assert found.cost is not None
    assert found.cost[SE]["se_parameters"] > 0


def test_a_single_run(one_seed):
    found = read(one_seed / f"{SE}-seed0")
    assert isinstance(found, Run)
    assert found.finished
    assert found.classes[0] == "T-shirt/top"
    assert list(found.metrics["epoch"]) == [1, 2, 3, 4]
    assert found.predictions is not None
    assert found.result is not None
    assert found.predictions.right.mean() == pytest.approx(found.result["test_accuracy"])


def test_an_unfinished_comparison(tmp_path, source):
    folder = write_comparison(
        tmp_path / "run", source, (0, 1, 2), unfinished=[(SE, 1)], not_begun=[(PLAIN, 2), (SE, 2)]
    )
    found = read(folder)
    assert isinstance(found, Twins)
    assert found.finished()[0] == [0]
    assert found.missing == [
        f"{PLAIN}, seed 2, has not begun",
        f"{SE}, seed 1, has done 2 epochs and not finished",
        f"{SE}, seed 2, has not begun",
    ]
    assert found.cost is None


def test_a_variation(family):
    found = read(family)
    assert isinstance(found, Variation)
    assert (found.option, found.seeds) == ("reduction", (0, 1))
    assert found.networks == {
        PLAIN: Network(PLAIN, None, None),
        **{f"{SE}-reduction={r}": Network(SE, PLAIN, str(r)) for r in (1, 2, 4)},
    }
    assert list(found.runs) == list(found.networks)
    assert found.missing == []
    assert found.cost is not None
    assert found.cost[f"{SE}-reduction=1"]["se_parameters"] > 0


def test_an_unfinished_variation_has_the_seeds_that_all_have_finished(tmp_path, source):
    late = (f"{SE}-reduction=2", 1)
    folder = write_variation(
        tmp_path / "run", source, "reduction", [2, 4], (0, 1), unfinished=[late]
    )
    found = read(folder)
    assert isinstance(found, Variation)
    seeds, runs = found.finished()
    assert seeds == [0]
    assert [len(own) for own in runs.values()] == [1, 1, 1]
    assert found.missing == [f"{late[0]}, seed 1, has done 2 epochs and not finished"]


def test_columns_without_validation_are_not_numbers(tmp_path, source):
    write_run(tmp_path / "run", source, PLAIN)
    table = tmp_path / "run" / "metrics.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    for row in rows[1:]:
        row[5] = row[6] = ""
    table.write_text("\n".join(map(",".join, rows)))
    found = read(tmp_path / "run")
    assert isinstance(found, Run)
    assert np.isnan(found.metrics["val_loss"]).all()
    assert np.isfinite(found.metrics["train_loss"]).all()


def test_confidence_is_the_probability_of_what_was_said():
    logits = np.array([[0.0, np.log(3)], [1000.0, 0.0]])
    found = Predictions(np.array([0, 0]), logits)
    assert found.predicted.tolist() == [1, 0]
    assert found.confidence == pytest.approx([0.75, 1.0])


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run folder .*nowhere"):
        read(tmp_path / "nowhere")


def test_not_a_run_folder(tmp_path):
    with pytest.raises(ValueError, match=r"neither comparison.json \(of `senet compare`\) nor"):
        read(tmp_path)


RUN = f"{SE}-seed0"


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("comparison.json", "{", "comparison.json is damaged"),
        ("comparison.json", "[]", "it holds a list, not an object"),
        ("comparison.json", "{}", "it lacks 'plain'"),
        ("cost.json", "nonsense", "cost.json is damaged"),
        (f"{RUN}/config.json", "", "config.json is damaged"),
        (f"{RUN}/config.json", '{"config": {"model": "x"}}', "it has no classes under 'data'"),
        (f"{RUN}/metrics.csv", "epoch,train_loss\n1,2\n", "it has no column train_accuracy"),
        (
            f"{RUN}/metrics.csv",
            "epoch,train_loss,train_accuracy,val_loss,val_accuracy\n1,much,0,0,0\n",
            "could not convert string to float: 'much'",
        ),
        (f"{RUN}/result.json", '{"finished": tru', "result.json is damaged"),
        (f"{RUN}/predictions.npz", "PK", "predictions.npz is damaged"),
    ],
)
def test_damaged_files_are_named_with_the_remedy(folder, file, content, says):
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=says) as error:
        read(folder)
    assert str(folder / file) in str(error.value)
    assert f"Delete {(folder / file).parent} and run the command that made it" in str(error.value)


def test_a_truncated_archive_is_named(folder):
    path = folder / RUN / "predictions.npz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"predictions.npz is damaged"):
        read(folder)


@pytest.mark.parametrize(
    ("labels", "logits", "says"),
    [
        (np.zeros(3, int), np.zeros((3, 9)), "it has 9 classes, and config.json names 10"),
        (np.zeros(4, int), np.zeros((3, 10)), "4 labels for 3 predictions"),
        (np.full(3, 10), np.zeros((3, 10)), "a label is not one of the 10 classes"),
        (np.zeros(3, int), np.full((3, 10), np.nan), "finite numbers"),
        (np.zeros(0, int), np.zeros((0, 10)), "0 labels for 0 predictions"),
    ],
)
def test_predictions_that_do_not_fit(folder, labels, logits, says):
    np.savez(folder / RUN / "predictions.npz", labels=labels, logits=logits)
    with pytest.raises(ValueError, match=says):
        read(folder)


def test_predictions_of_objects_are_refused(folder):
    """An array of objects is pickled, so reading it could run code."""
    np.savez(folder / RUN / "predictions.npz", labels=np.array([print], object), logits=[[0.0]])
    with pytest.raises(ValueError, match=r"predictions.npz is damaged"):
        read(folder)


def test_runs_that_were_tested_on_other_images(folder):
    path = folder / RUN / "predictions.npz"
    with np.load(path) as file:
        labels, logits = file["labels"], file["logits"]
    np.savez(path, labels=labels[::-1], logits=logits)
    with pytest.raises(ValueError, match="tested on different images"):
        read(folder)


def test_a_comparison_whose_seeds_do_not_match_its_runs(folder):
    path = folder / "comparison.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seeds": [0, 1]}))
    with pytest.raises(ValueError, match="a run of both networks for each seed"):
        read(folder)


def test_a_damaged_variation_is_named(family, tmp_path):
    folder = shutil.copytree(family, tmp_path / "run")
    path = folder / "comparison.json"
    whole = json.loads(path.read_text())
    for change, says in (
        ({"seeds": [0]}, "a run of every network for each seed"),
        ({"vary": {}}, "it lacks 'option'"),
        ({"networks": {"other": {"model": PLAIN, "twin": None, "value": None}}}, "lacks 'other'"),
    ):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(ValueError, match=says):
            read(folder)
