import os
from contextlib import contextmanager

import pytest

from senet.data.walk import is_run
from senet.runs.folder import COLUMNS, RunFolder, read_json, write_json
from senet.training.config import TrainConfig


@contextmanager
def nobody():
    """Drop the rights of root, who may write anywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_cannot_be_made_or_written_to(tmp_path):
    (tmp_path / "empty").mkdir()
    tmp_path.chmod(0o555)
    (tmp_path / "empty").chmod(0o555)
    try:
        for name in "empty", "new":
            with nobody(), pytest.raises(PermissionError) as error:
                RunFolder(tmp_path / name).create()
            assert error.value.filename == str(tmp_path / name)
            assert error.value.strerror is not None
            assert "cannot write to the output folder" in error.value.strerror
    finally:
        tmp_path.chmod(0o755)


def test_an_empty_folder_may_be_used(tmp_path):
    RunFolder(tmp_path).require_unused()
    RunFolder(tmp_path).create()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_leaves_the_old_as_it_was(tmp_path):
    file = tmp_path / "result.json"
    write_json(file, {"accuracy": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, {"accuracy": float("nan")})
    assert read_json(file) == {"accuracy": 0.5}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_names_of_files_that_are_no_text_are_read_as_they_were(tmp_path):
    names = [os.fsdecode(b"caf\xe9.png"), "\u65e5\u672c\u8a9e.png"]
    write_json(tmp_path / "config.json", {"files": names})
    assert read_json(tmp_path / "config.json") == {"files": names}
    assert "\u65e5\u672c\u8a9e.png" in (tmp_path / "config.json").read_text(encoding="utf-8")


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"config": ')
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        RunFolder(tmp_path).read_config()


def test_a_configuration_is_given_as_it_was_written(tmp_path):
    """Another version may have other fields: the training says which ones it knows."""
    config = {"learning_rate": 1, "batch_size": 8}
    RunFolder(tmp_path).write_config(config, {"name": "cats"}, {"python": "3.11"})
    assert RunFolder(tmp_path).read_config() == config
    with pytest.raises(ValueError, match="no field 'learning_rate'"):
        TrainConfig.from_dict(RunFolder(tmp_path).read_config())


def test_what_is_said_of_the_data_can_be_replaced_alone(tmp_path):
    run = RunFolder(tmp_path)
    run.write_config({"seed": 1}, {"name": "cats"}, {"python": "3.11"})
    run.write_data({"name": "dogs"})
    assert list(read_json(run.config_file).items()) == [
        ("config", {"seed": 1}),
        ("data", {"name": "dogs"}),
        ("environment", {"python": "3.11"}),
    ]


def test_data_know_a_folder_that_a_run_has_written(tmp_path):
    """``senet.data`` does not import the runs, so it recognises the file by itself."""
    assert not is_run(tmp_path)
    RunFolder(tmp_path).write_config(TrainConfig().to_dict(), {}, {})
    assert is_run(tmp_path)


def test_a_table_is_read_as_it_was_written(tmp_path):
    row = dict.fromkeys(COLUMNS, "0.5")
    RunFolder(tmp_path).write_table([row])
    assert RunFolder(tmp_path).read_table() == [row]
    assert RunFolder(tmp_path / "gone").read_table() == []
