"""A run on an archive or a table finds its images again."""

import zipfile
from types import SimpleNamespace
from typing import cast

import pytest

from senet.data import open_source
from senet.models.weights.record import Record
from senet.preprocessing import IMAGENET
from senet.runs.folder import RunFolder
from senet.runs.images import described, recorded_source
from senet.runs.scored import images_to_score
from senet.training.config import TrainConfig
from tests.training.photos import photo_folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def zipped(tmp_path):
    photos = photo_folder(tmp_path / "photos", cat=12, dog=8)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        for path in photos.rglob("*.png"):
            file.write(path, path.relative_to(photos))
    return tmp_path / "photos.zip"


def listed(tmp_path):
    photos = photo_folder(tmp_path / "photos", cat=12, dog=8)
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in photos.rglob("*.png")]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label", *rows]))
    return tmp_path / "labels.csv"


@pytest.fixture(params=[zipped, listed])
def place(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture
def begun(place, tmp_path):
    """A run that has begun, its record, and its images."""
    source = open_source(place)
    run = RunFolder(tmp_path / "run")
    run.create()
    run.write_config(TrainConfig(data=str(place)).to_dict(), described(source, 1), {})
    record = cast(Record, SimpleNamespace(preprocessing=IMAGENET, classes=source.classes))
    return run, record, source


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_splits_are_those_of_the_run(begun, place, split):
    run, record, source = begun
    for data in (None, str(place)):
        scored = images_to_score(run.model_file, record, data, split)
        assert list(scored.images.keys()) == list(getattr(source, split).keys())
        assert scored.new is None
    again = recorded_source(run)
    assert list(getattr(again, split).keys()) == list(getattr(source, split).keys())


def test_a_model_file_of_another_run_is_refused(begun):
    run, record, _ = begun
    record.classes = ("bag", "shoe")
    with pytest.raises(ValueError, match="is not the network of its run: it knows 'bag', 'shoe'"):
        images_to_score(run.model_file, record, None, "test")


def test_moved_and_gone(begun, place, tmp_path):
    run, record, source = begun
    (tmp_path / "elsewhere").mkdir()
    moved = place.rename(tmp_path / "elsewhere" / place.name)
    if place.suffix == ".csv":
        (tmp_path / "photos").rename(tmp_path / "elsewhere" / "photos")
    scored = images_to_score(run.model_file, record, str(moved), "test")
    assert list(scored.images.keys()) == list(source.test.keys())
    with pytest.raises(ValueError, match="no longer exists: say with --data"):
        recorded_source(run)


def test_another_one_is_taken_whole(begun, place):
    run, record, _ = begun
    other = place.with_name(f"other{place.suffix}")
    other.write_bytes(place.read_bytes())
    scored = images_to_score(run.model_file, record, str(other), None)
    assert (len(scored.images), scored.split, scored.seen) == (20, "all", 14)
