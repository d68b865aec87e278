"""What is wrong with a folder is found, counted, and shown."""

import json
import re
import warnings

import numpy as np
import pytest
from PIL import Image

from senet.data import open_source
from senet.survey import survey, write
from tests.data.test_likeness import scene


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Two classes with train and test, ten and three photos each."""
    for part, count in (("train", 10), ("test", 3)):
        for number, name in enumerate(("cat", "dog")):
            place = tmp_path / "photos" / part / name
            place.mkdir(parents=True)
            for i in range(count):
                seed = 100 * number + i + 50 * (part == "test")
                scene(seed, 64).save(place / f"{i}.png")
    return tmp_path / "photos"


def found_in(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return survey(open_source(folder))


def names(groups):
    return [tuple(image.name for image in group.images) for group in groups]


def test_nothing_to_mend(folder):
    found = found_in(folder)
    assert len(found.images) == 26
    assert (found.copies, found.alike, found.left_out) == ((), (), {})
    assert not found.to_mend
    assert found.counts["test"].tolist() == [3, 3]
    assert found.sizes["median"] == [64, 64]
    assert found.formats == {"PNG": 26}


def test_the_split_is_that_of_a_training(folder):
    source = open_source(folder / "train")
    found = survey(source)
    for part in ("train", "val", "test"):
        split = getattr(source, part)
        assert [i.name for i in found.images if i.split == part] == list(split.keys())
        assert [i.label for i in found.images if i.split == part] == split.labels.tolist()


def test_copies_across_splits_and_in_two_classes(folder):
    (folder / "test/cat/copy.png").write_bytes((folder / "train/cat/4.png").read_bytes())
    (folder / "train/dog/copy.png").write_bytes((folder / "train/cat/5.png").read_bytes())
    (folder / "train/cat/twice.png").write_bytes((folder / "train/cat/6.png").read_bytes())
    found = found_in(folder)
    assert {frozenset(group) for group in names(found.copies)} == {
        frozenset({"train/cat/4.png", "test/cat/copy.png"}),
        frozenset({"train/cat/5.png", "train/dog/copy.png"}),
        frozenset({"train/cat/6.png", "train/cat/twice.png"}),
    }
    worst, second, harmless = found.copies
    assert worst.contradicting
    assert second.across
    assert not harmless.across
    assert not harmless.contradicting
    assert found.to_mend
    assert found.alike == ()  # copies are not named twice


def test_copies_in_one_class_and_split_are_no_reason_to_stop(folder):
    (folder / "train/cat/twice.png").write_bytes((folder / "train/cat/6.png").read_bytes())
    found = found_in(folder)
    assert len(found.copies) == 1
    assert not found.to_mend


def test_near_duplicates_are_named_and_no_reason_to_stop(folder):
    photo = Image.open(folder / "train/cat/4.png")
    photo.resize((48, 48)).save(folder / "test/dog/small.jpg", quality=80)
    found = found_in(folder)
    (pair,) = found.alike
    assert names([pair]) == [("train/cat/4.png", "test/dog/small.jpg")]
    assert pair.across
    assert pair.contradicting
    assert not found.to_mend


def test_files_that_cannot_be_used_are_left_out(folder):
    (folder / "train/cat/torn.png").write_bytes((folder / "train/cat/1.png").read_bytes()[:900])
    (folder / "train/dog/notes.txt").write_text("not an image")
    found = found_in(folder)
    assert set(found.left_out) == {"train/cat/torn.png", "train/dog/notes.txt"}
    assert found.to_mend


def test_a_file_that_vanishes_meanwhile_is_named_as_the_others(folder):
    source = open_source(folder)
    (folder / "train/cat/1.png").unlink()
    assert survey(source).left_out == {"train/cat/1.png": "there is no such file"}


def test_pages_and_transparency_are_counted(folder):
    pages = [scene(seed, 64) for seed in (900, 901)]
    pages[0].save(folder / "train/cat/pages.tif", save_all=True, append_images=pages[1:])
    clear = np.array(scene(902, 64).convert("RGBA"))
    clear[:, :32, 3] = 0
    Image.fromarray(clear).save(folder / "train/cat/clear.png")
    found = found_in(folder)
    assert [one.name for one in found.of_several_frames] == ["train/cat/pages.tif"]
    assert [one.name for one in found.transparent] == ["train/cat/clear.png"]
    assert found.formats == {"PNG": 27, "TIFF": 1}


def test_images_that_are_not_files():
    found = survey(open_source("fashion-mnist", limit=50))
    assert found.images[0].name == "train/0"
    assert found.formats == {}
    json.dumps(found.to_dict())


def test_the_page_shows_classes_and_duplicates_and_fetches_nothing(folder, tmp_path):
    (folder / "test/cat/<b>.png").write_bytes((folder / "train/cat/4.png").read_bytes())
    found = found_in(folder)
    page = tmp_path / "page.html"
    write(page, found, ["a note"])
    html = page.read_text()
    assert len(re.findall("<img", html)) == 2 * 8 + 2
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert "<script" not in html
    assert "<b>.png" not in html
    assert "&lt;b&gt;.png" in html
    assert "a note" in html
    write(page, found)  # an earlier page is replaced


def test_another_file_is_not_replaced(folder, tmp_path):
    page = tmp_path / "thesis.html"
    page.write_text("<html>years of work</html>")
    with pytest.raises(FileExistsError, match="no page of senet"):
        write(page, found_in(folder))
    assert page.read_text() == "<html>years of work</html>"
