"""The images of a run, as it recorded them."""

import pytest

from senet.runs.folder import RunFolder
from senet.runs.images import described, note_data, opened, recorded_source, recorded_steps
from tests.runs.written import LIMIT, SE, recipe


@pytest.fixture
def run(tmp_path, source):
    run = RunFolder(tmp_path)
    run.write_config(recipe(SE, 0) | {"batch_size": 32}, described(source, 5), {})
    return run


def test_a_run_opens_its_images_again(run, source):
    found = recorded_source(run)
    assert found.counts == source.counts == {**source.counts, "test": LIMIT}
    assert found.preprocessing == source.preprocessing
    assert recorded_steps(run) == 5


def test_a_run_of_before_has_not_recorded_its_steps_or_preprocessing(run, source):
    data = run.read_data()
    del data["steps_per_epoch"], data["preprocessing"]
    run.write_data(data)
    assert recorded_steps(run) == source.counts["train"] // 32
    assert opened(run.read_config(), run.read_data()).preprocessing == source.preprocessing


def test_images_that_did_not_move_are_not_noted(run, source):
    before = run.config_file.stat().st_mtime_ns
    note_data(run, source)
    assert run.config_file.stat().st_mtime_ns == before
