"""`senet data`."""

import json
import shutil

import pytest

from senet.data import open_source
from tests.cli.command import said, senet
from tests.training.photos import photo_folder


@pytest.fixture
def photos(tmp_path):
    return photo_folder(tmp_path / "photos", cat=12, dog=8)


def test_prints_counts_and_writes_a_page(photos, tmp_path):
    text = said(senet("data", "photos"))
    assert "photos: 20 images of 2 classes" in text
    assert "dog 5 1 2 8" in text
    assert "left out no file" in text
    assert "unequal" not in text
    assert "data-photos.html" in text
    assert (tmp_path / "data-photos.html").read_text().startswith("<!doctype html>")


def test_json_is_the_split_of_a_training_and_writes_nothing(photos, tmp_path):
    found = json.loads(senet("data", "photos", "--json").stdout)
    assert not list(tmp_path.glob("*.html"))
    counts = open_source(photos).counts
    for part, count in counts.items():
        assert sum(own[part] for own in found["classes"].values()) == count
    assert found["to_mend"] is False
    assert found["unequal_classes"] == ""


def test_what_is_to_be_mended_is_the_exit_code(photos):
    (photos / "cat" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = senet("data", "photos", "--json", code=1)
    assert list(json.loads(result.stdout)["left_out"]) == ["cat/torn.png"]
    assert "cat/torn.png" in result.stderr


def test_the_same_image_in_two_classes_is_named(photos):
    (photos / "dog" / "copy.png").write_bytes((photos / "cat" / "3.png").read_bytes())
    text = said(senet("data", "photos", code=1))
    assert "cat/3.png (cat, " in text
    assert "dog/copy.png (dog, " in text


def test_unequal_classes_are_named_with_the_remedy(tmp_path):
    photo_folder(tmp_path / "photos", many=60, few=4)
    result = senet("data", "photos")
    assert "unequal classes 2 to 42 training images; `senet train --set balance=true`" in said(
        result
    )
    found = json.loads(senet("data", "photos", "--json").stdout)
    assert found["unequal_classes"].startswith("2 to 42 training images")
    page = (tmp_path / "data-photos.html").read_text()
    assert "2 to 42 training images; <code>senet train --set balance=true</code> has" in page


def test_tables_and_archives(photos, tmp_path):
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in photos.rglob("*.png")]
    (tmp_path / "labels.csv").write_text("\n".join(["photo,species", *rows]))
    words = json.loads(senet("data", "./labels.csv:file=photo,label=species", "--json").stdout)
    shutil.make_archive("photos", "zip", photos)
    zipped = json.loads(senet("data", "photos.zip", "--json").stdout)
    assert words["images"] == zipped["images"] == 20
    assert list(words["classes"]) == list(zipped["classes"]) == ["cat", "dog"]
    assert "there is no table 'label.csv'" in said(senet("data", "./label.csv", code=1))


def test_errors_name_what_is_wrong(photos, tmp_path):
    assert "there is no folder './photo'" in said(senet("data", "./photo", code=1))
    (tmp_path / "thesis.html").write_text("years of work")
    assert "name another file" in said(senet("data", "photos", "--out", "thesis.html", code=1))
