import io
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from senet.serving import Found, find_images, find_model
from senet.serving.find import images_as_they_come


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
    names = [os.path.relpath(one.file, album) for one in found if not one.error]
    assert names == ["a.jpg", "b.PNG", "odd[1].jpg", "trip/c.webp", "trip/day/d.heic"]
    skipped = [os.path.relpath(one.file, album) for one in found if one.skipped]
    assert skipped == ["notes.txt", "empty/readme.md"]
    assert len(found) == 7


def test_links_are_followed_and_a_file_without_an_extension_is_looked_into(tmp_path):
    """Follow links as in training: a copy of one image, and a link to a folder of two."""
    photos = tmp_path / "photos"
    (tmp_path / "elsewhere").mkdir()
    photos.mkdir()
    for file in (photos / "scan", tmp_path / "elsewhere/1.png", tmp_path / "elsewhere/2.dat"):
        Image.new("RGB", (8, 8)).save(file, "png")
    (photos / "link").symlink_to(tmp_path / "elsewhere")
    (photos / "loop").symlink_to(photos)
    assert [one.file for one in find_images([photos])] == [
        str(photos / name) for name in ("scan", "link/1.png", "link/2.dat")
    ]


def test_a_folder_that_cannot_be_read_is_found_with_the_reason(album, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if os.path.basename(path) == "day":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_images(["trip"]) == [
        Found("trip/c.webp"),
        Found("trip/day", "the folder cannot be read: Permission denied"),
    ]


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
        ("x*.jpg", "no file matches this pattern"),
    ],
)
def test_what_stands_for_nothing_is_found_with_the_reason(album, name, error):
    found = [one for one in find_images([name, "a.jpg"]) if not one.skipped]
    assert found == [Found(name, error), Found("a.jpg")]


def test_a_run_stands_for_its_model(tmp_path):
    (tmp_path / "model.safetensors").touch()
    assert find_model(tmp_path) == tmp_path / "model.safetensors"
    assert find_model(str(tmp_path / "model.safetensors")) == tmp_path / "model.safetensors"


def test_what_is_no_model_is_told_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no run folder or model file 'gone'"):
        find_model("gone")
    with pytest.raises(FileNotFoundError, match="se_resnet50 is a network without weights"):
        find_model("se_resnet50")
    with pytest.raises(FileNotFoundError, match="it is not a run folder"):
        find_model(tmp_path)
    (tmp_path / "config.json").touch()
    with pytest.raises(
        FileNotFoundError, match="has not finished: resume it with `senet train --resume"
    ):
        find_model(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Path(tmp_path / name / "model.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"several models, name one: .*one, .*two"):
        find_model(tmp_path)


def test_of_an_archive_the_images_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        for name in ("b/2.jpg", "a/1.png", "notes.txt"):
            file.writestr(name, b"x")
    found = find_images([tmp_path / "photos.zip"])
    assert [one.file.split("/")[-2:] for one in found if not one.skipped] == [
        ["a", "1.png"], ["b", "2.jpg"],
    ]  # fmt: skip
    (tmp_path / "torn.zip").write_bytes(b"PK")
    (torn,) = find_images([tmp_path / "torn.zip"])
    assert "cannot be unpacked" in torn.error


@pytest.fixture
def listed(monkeypatch):
    """``listed(*lines)``: standard input with these lines, as bytes."""

    def give(*lines):
        raw = io.BytesIO(b"".join(line + b"\n" for line in lines))
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(raw))

    return give


def test_addresses_of_the_web_are_taken_and_others_refused():
    found = find_images(["https://a.b//c.jpg?x=1", "ftp://a/b.jpg", "file:///a.jpg"])
    assert found[0] == Found("https://a.b//c.jpg?x=1")
    assert {one.error for one in found[1:]} == {"only http and https addresses can be fetched"}


def test_a_list_on_standard_input_is_a_list_of_names(listed, tmp_path):
    (tmp_path / "a b.jpg").touch()
    odd = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    open(odd, "wb").close()
    listed(os.fsencode(tmp_path / "a b.jpg") + b"\r", b"", odd, b"https://a.b/c.jpg", b"-")
    found = find_images(["-"])
    files = [str(tmp_path / "a b.jpg"), os.fsdecode(odd), "https://a.b/c.jpg", "-"]
    assert [one.file for one in found] == files
    assert [bool(one.error) for one in found] == [False, False, False, True]


def test_a_list_is_answered_while_it_grows(monkeypatch, tmp_path):
    for name in "abc":
        (tmp_path / name).touch()
    reading, writing = os.pipe()
    monkeypatch.setattr("sys.stdin", os.fdopen(reading))
    with os.fdopen(writing, "w") as stream:
        stream.write(f"{tmp_path}/a\n{tmp_path}/b\n{tmp_path}/a\n")
        stream.flush()
        found = images_as_they_come(["-", str(tmp_path / "c")])
        first = []
        while (one := next(found)) is not None or not first:
            first += [one] if one else []
        assert [os.path.basename(one.file) for one in first][:1] == ["a"]
    rest = [one for one in found if one]
    assert [os.path.basename(one.file) for one in (*first, *rest)] == ["a", "b", "c"]


def test_a_table_stands_for_its_files_with_their_labels(album):
    Path("list").mkdir()
    Path("list/labels.csv").write_text("photo;kind\n../a.jpg;cat\ngone.jpg;\n")
    found = find_images(["list/labels.csv:file=photo,label=kind", "list/*.csv:file=photo"])
    names = [os.path.join("list", "..", "a.jpg"), os.path.join("list", "gone.jpg")]
    assert [(one.file, one.label) for one in found[:2]] == [(names[0], "cat"), (names[1], "")]
    assert found[2:] == [Found("list/*.csv:file=photo", "no file matches this pattern")]
    assert [one.file for one in images_as_they_come(["list/labels.csv:file=photo"])] == names
    [wrong] = find_images(["list/labels.csv"])
    assert "Name it: labels.csv:file=COLUMN" in wrong.error
    [wrong] = find_images(["list/labels.csv:phile=photo"])
    assert "columns are named as in" in wrong.error
    assert find_images(["list/none.csv"]) == [Found("list/none.csv", "there is no such file")]
