"""Images in folders of their classes: nothing is lost, replaced or led astray."""

import os

import pytest

from senet.serving.predict import Prediction
from senet.serving.sort import Sorter, folders_of


def image(path, content=b"pixels"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def sure(file, name="cat", **more):
    return Prediction(file, ((name, 0.9),), **more)


def inside(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_copies_go_to_their_classes_and_the_originals_stay(tmp_path):
    sorter = Sorter(tmp_path / "out", ["cat", "dog"])
    answers = [
        sure(image(tmp_path / "in/1.jpg", b"1")),
        sure(image(tmp_path / "in/2.jpg", b"2"), "dog", unsure=False),
        sure(image(tmp_path / "in/3.jpg", b"3"), unsure=True),
        Prediction("gone.jpg", error="there is no such file"),
    ]
    for answer in answers:
        sorter.add(answer)
    assert inside(tmp_path / "out") == ["cat/1.jpg", "dog/2.jpg", "unsure/3.jpg"]
    assert inside(tmp_path / "in") == ["1.jpg", "2.jpg", "3.jpg"]
    assert (tmp_path / "out/dog/2.jpg").read_bytes() == b"2"
    assert (sorter.put, sorter.there) == (3, 0)


def test_images_of_one_name_are_both_kept_and_again_is_nothing_new(tmp_path):
    files = [image(tmp_path / f"{i}/a.jpg", str(i).encode()) for i in range(3)]
    for again in range(2):
        sorter = Sorter(tmp_path / "out", ["cat"])
        places = [sorter.add(sure(file)) for file in files]
        assert (sorter.put, sorter.there) == ((0, 3) if again else (3, 0))
        assert [place.name for place in places] == ["a.jpg", "a-2.jpg", "a-3.jpg"]
        assert [place.read_bytes() for place in places] == [b"0", b"1", b"2"]


def test_what_is_there_is_never_replaced(tmp_path):
    mine = image(tmp_path / "out/cat/a.jpg", b"mine")
    Sorter(tmp_path / "out", ["cat"]).add(sure(image(tmp_path / "a.jpg", b"other")))
    (tmp_path / "out/cat/b.jpg").symlink_to("nothing")
    Sorter(tmp_path / "out", ["cat"]).add(sure(image(tmp_path / "b.jpg")))
    assert inside(tmp_path / "out") == ["cat/a-2.jpg", "cat/a.jpg", "cat/b-2.jpg"]
    assert os.path.lexists(tmp_path / "out/cat/b.jpg")
    with open(mine, "rb") as file:
        assert file.read() == b"mine"
    with pytest.raises(ValueError, match="is a file: name a folder"):
        Sorter(tmp_path / "a.jpg", ["cat"])


def test_where_a_file_can_have_one_name_only_nothing_is_replaced_either(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("not on this disk")

    monkeypatch.setattr(os, "link", refuse)
    for i in range(2):
        Sorter(tmp_path / "out", ["cat"]).add(sure(image(tmp_path / f"{i}/a.jpg", b"%d" % i)))
    assert inside(tmp_path / "out") == ["cat/a-2.jpg", "cat/a.jpg"]
    assert (tmp_path / "out/cat/a.jpg").read_bytes() == b"0"


def test_an_interrupted_copy_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("senet.serving.sort.shutil.copy2", stop)
    with pytest.raises(KeyboardInterrupt):
        Sorter(tmp_path / "out", ["cat"]).add(sure(image(tmp_path / "a.jpg")))
    assert inside(tmp_path / "out") == []


def test_what_may_be_deleted_at_any_time_is_not_linked(tmp_path, monkeypatch):
    monkeypatch.setenv("SENET_HOME", str(tmp_path / "cache"))
    sorter = Sorter(tmp_path / "out", ["cat"], links=True)
    extracted = sorter.add(sure(image(tmp_path / "cache/archives/1.jpg", b"1")))
    own = sorter.add(sure(image(tmp_path / "in/2.jpg", b"2")))
    assert extracted is not None
    assert own is not None
    assert not extracted.is_symlink()
    assert extracted.read_bytes() == b"1"
    assert own.is_symlink()
    assert (sorter.put, sorter.linked) == (2, 1)


def test_links_lead_to_the_originals(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image(tmp_path / "in/a.jpg", b"1")
    for again in range(2):
        sorter = Sorter(tmp_path / "out", ["cat"], links=True)
        place = sorter.add(sure("in/a.jpg"))
        assert (sorter.put, sorter.there) == ((0, 1) if again else (1, 0))
    assert place.is_symlink()
    assert place.resolve() == (tmp_path / "in/a.jpg").resolve()


def test_an_image_from_the_web_is_written_once(tmp_path):
    for again in range(2):
        sorter = Sorter(tmp_path / "out", ["cat"], links=True)
        sorter.add(sure("https://a.b/c/my%20cat.jpg?size=3", content=b"web"))
        sorter.add(sure("https://a.b/..%2f..%2f", content=b"odd"))
        assert sorter.there == 2 * again
    assert inside(tmp_path / "out") == ["cat/image", "cat/my cat.jpg"]


@pytest.mark.parametrize("name", ["..", ".", "../../x", "/etc", "a/b", "a\\b", "", " ", "nul\0"])
def test_no_name_of_a_class_leads_out_of_the_folder(tmp_path, name):
    place = Sorter(tmp_path / "out", [name, "cat"]).add(sure(image(tmp_path / "a.jpg"), name))
    assert place.parent.parent == tmp_path / "out"
    assert place.parent.name not in ("", ".", "..")


def test_each_class_has_a_folder_of_its_own():
    names = ["Cat", "cat", "a/b", "a_b", "unsure", "x" * 300, "x" * 400, ".hidden"]
    found = folders_of(names)
    assert len({folder.casefold() for folder in found.values()}) == len(names) + 1
    assert max(map(len, found.values())) < 255
    assert found[""] == "unsure-2"
