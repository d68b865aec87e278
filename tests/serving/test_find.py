import os
from pathlib import Path

import pytest

from senet.serving import Found, find_images, find_model


@pytest.fixture
def album(tmp_path, monkeypatch):
    """Files whose contents do not matter: nothing here opens them."""
    files = ["a.jpg", "b.PNG", "notes.txt", ".hidden.jpg", "trip/c.webp", "trip/day/d.heic"]
    for name in [*files, ".git/e.jpg", "empty/readme.md", "odd[1].jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_gives_its_images_and_those_below(album):
    found = find_images([album / "."])
    names = [os.path.relpath(one.file, album) for one in found]
    assert names == ["a.jpg", "b.PNG", "odd[1].jpg", "trip/c.webp", "trip/day/d.heic"]
    assert not any(one.error for one in found)


def test_a_file_is_taken_whatever_its_name(album):
    assert find_images(["notes.txt", ".hidden.jpg", "odd[1].jpg"]) == [
        Found("notes.txt"),
        Found(".hidden.jpg"),
        Found("odd[1].jpg"),
    ]


def test_patterns(album):
    assert [one.file for one in find_images(["*.jpg"])] == ["a.jpg", "odd[1].jpg"]
    assert [one.file for one in find_images(["**/*.webp"])] == ["trip/c.webp"]
    assert [one.file for one in find_images(["tr*"])] == ["trip/c.webp", "trip/day/d.heic"]


def test_each_image_comes_once_in_the_order_of_the_names(album):
    assert [one.file for one in find_images(["trip/c.webp", "a.jpg", "*.jpg", "trip"])] == [
        "trip/c.webp",
        "a.jpg",
        "odd[1].jpg",
        "trip/day/d.heic",
    ]


def test_the_home_folder_is_known(album, monkeypatch):
    monkeypatch.setenv("HOME", str(album))
    assert find_images(["~/a.jpg"]) == [Found(str(album / "a.jpg"))]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("gone.jpg", "there is no such file"),
        ("empty", "the folder holds no image"),
        ("x*.jpg", "no file fits this pattern"),
    ],
)
def test_what_stands_for_nothing_is_found_with_the_reason(album, name, error):
    assert find_images([name, "a.jpg"]) == [Found(name, error), Found("a.jpg")]


def test_a_run_stands_for_its_model(tmp_path):
    (tmp_path / "model.safetensors").touch()
    assert find_model(tmp_path) == tmp_path / "model.safetensors"
    assert find_model(str(tmp_path / "model.safetensors")) == tmp_path / "model.safetensors"


def test_what_is_no_model_is_told_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no run folder or model file 'gone'"):
        find_model("gone")
    with pytest.raises(FileNotFoundError, match="se_resnet50 is a network without weights"):
        find_model("se_resnet50")
    with pytest.raises(FileNotFoundError, match="is not the folder of a run"):
        find_model(tmp_path)
    (tmp_path / "config.json").touch()
    with pytest.raises(FileNotFoundError, match="has not finished: `senet train --resume"):
        find_model(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Path(tmp_path / name / "model.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"several models, name one: .*one, .*two"):
        find_model(tmp_path)
