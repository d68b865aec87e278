"""A folder of photos, in every state that people's folders are in."""

import json
import os
import shutil
import warnings

import numpy as np
import pytest

from senet.data import check
from senet.data.decode import ImageError
from senet.data.folder import open_folder, open_labelled
from senet.data.source import Source, Split
from senet.preprocessing import IMAGENET, Preprocessing
from tests.data.conftest import encode, picture


def names(split: Split | None) -> list[str]:
    """Return the files of a split, relative to the folder."""
    return list(split.keys()) if split else []


def files(source: Source) -> dict[str, set[str]]:
    return {part: set(names(getattr(source, part))) for part in ("train", "val", "test")}


@pytest.fixture(autouse=True)
def _no_unexpected_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_class_folders(photos):
    source = open_folder(photos)
    assert source.name == "photos"
    assert source.classes == ("cat", "dog", "owl")
    assert source.preprocessing == IMAGENET
    assert source.val is not None
    assert [len(s) for s in (source.train, source.val, source.test)] == [42, 6, 12]
    for split in (source.train, source.val, source.test):
        assert len(set(np.bincount(split.labels))) == 1
        assert split.paths is not None
        for path, label in zip(split.paths, split.labels, strict=True):
            assert os.path.isfile(path)
            assert source.classes[label] in path
    image, label = source.train[0]
    assert image.shape[0] == 3
    assert label == 0
    parts = files(source)
    assert len(parts["train"] | parts["val"] | parts["test"]) == 60


def test_seed_decides_who_is_held_out(photos):
    assert files(open_folder(photos, seed=3)) == files(open_folder(photos, seed=3))
    assert files(open_folder(photos, seed=3)) != files(open_folder(photos, seed=4))


def test_record_gives_the_same_split_although_images_came_and_went(photos):
    source = open_folder(photos, seed=1)
    record = json.loads(json.dumps(source.record))
    assert files(open_folder(photos, record=record)) == files(source)

    (photos / "cat" / "new.jpg").write_bytes(encode(picture(30, 30)))
    (photos / "emu").mkdir()
    (photos / "emu" / "1.jpg").write_bytes(encode(picture(30, 30)))
    gone = names(source.test)[0]
    (photos / gone).unlink()
    with pytest.warns(UserWarning, match=r"1 of 60 files .*left out(.|\n)*there is no such file"):
        again = open_folder(photos, seed=9, record=record)
    assert again.classes == source.classes
    assert files(again)["train"] == files(source)["train"]
    assert files(again)["val"] == files(source)["val"]
    assert files(again)["test"] == files(source)["test"] - {gone}
    assert again.test.skipped == {str(photos / gone): "there is no such file"}
    by_label = {f: int(c) for f, c in zip(names(again.train), again.train.labels, strict=True)}
    assert all(again.classes[label] == file.split("/")[0] for file, label in by_label.items())


def arrange(photos, *parts):
    """Arrange the class folders of ``photos`` under folders named like splits."""
    root = photos.parent / "arranged"
    for part in parts:
        shutil.copytree(photos, root / part)
    return root


def test_train_val_and_test_folders(photos):
    root = arrange(photos, "train", "val", "test")
    source = open_folder(root)
    assert all({f.split("/")[0] for f in own} == {part} for part, own in files(source).items())
    assert all(len(own) == 60 for own in files(source).values())
    assert files(open_folder(root, record=source.record)) == files(source)


def test_names_of_splits_in_any_case(photos):
    source = open_folder(arrange(photos, "Training", "Valid", "TEST"))
    assert len(source.train) == len(source.test) == 60


@pytest.mark.parametrize("other", ["val", "test"])
def test_one_folder_beside_train_is_test_and_validation_comes_from_train(photos, other):
    source = open_folder(arrange(photos, "train", other))
    assert {f.split("/")[0] for f in names(source.test)} == {other}
    assert source.val is not None
    assert {f.split("/")[0] for f in names(source.val)} == {"train"}
    assert (len(source.train), len(source.val), len(source.test)) == (54, 6, 60)


def test_train_folder_alone(photos):
    source = open_folder(arrange(photos, "train"))
    assert source.val is not None
    assert (len(source.train), len(source.val), len(source.test)) == (42, 6, 12)


def test_a_class_may_be_called_train(photos):
    (photos / "owl").rename(photos / "train")
    assert open_folder(photos).classes == ("cat", "dog", "train")


def test_half_a_split_is_refused(photos):
    root = arrange(photos, "val", "test")
    with pytest.raises(
        ValueError, match=r"'test', 'val' are neither a split .*train must be there"
    ):
        open_folder(root)
    shutil.copytree(photos, root / "train")
    shutil.copytree(photos, root / "extra")
    with pytest.raises(ValueError, match="neither a split"):
        open_folder(root)


def test_nested_files_links_and_litter(photos):
    deep = photos / "cat" / "2020" / "may"
    deep.mkdir(parents=True)
    (deep / "deep.jpg").write_bytes(encode(picture(30, 30)))
    (photos / "cat" / "loop").symlink_to(photos / "cat")
    elsewhere = photos.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "linked.jpg").write_bytes(encode(picture(30, 30)))
    (photos / "dog" / "more").symlink_to(elsewhere)
    for litter in ("Thumbs.db", ".DS_Store", "._00.jpg"):
        (photos / "cat" / litter).write_bytes(b"litter")
    (photos / ".git").mkdir()
    (photos / "__MACOSX").mkdir()
    (photos / "README.txt").write_text("my photos")
    source = open_folder(photos)
    everything = set().union(*files(source).values())
    assert source.classes == ("cat", "dog", "owl")
    assert len(everything) == 62
    assert {"cat/2020/may/deep.jpg", "dog/more/linked.jpg"} <= everything


def test_names_that_are_no_text(photos):
    odd = os.fsencode(photos / "cat") + b"/caf\xe9.jpg"
    with open(odd, "wb") as stream:
        stream.write(encode(picture(30, 30)))
    (photos / "dog" / "ünï 狗.jpg").write_bytes(encode(picture(30, 30)))
    source = open_folder(photos)
    record = json.loads(json.dumps(source.record))
    assert files(open_folder(photos, record=record)) == files(source)
    assert sum(map(len, files(source).values())) == 62


@pytest.mark.parametrize(
    "litter",
    ["@eaDir", ".thumbnails", "#recycle", "$RECYCLE.BIN", "lost+found", "__pycache__", ".git",
     "System Volume Information", "@Recycle"],
)  # fmt: skip
def test_what_others_put_beside_photos_is_neither_image_nor_class(photos, litter):
    image = encode(picture(30, 30))
    for place in (photos / litter, photos / "cat" / litter, photos / "cat" / litter / "00.jpg"):
        place.mkdir()
        (place / "thumb.jpg").write_bytes(image)
    source = open_folder(photos)
    assert source.classes == ("cat", "dog", "owl")
    assert sum(map(len, files(source).values())) == 60


@pytest.mark.parametrize("place", ["runs/first", "first", "cat/first"])
def test_runs_are_neither_images_nor_classes(photos, place):
    run = photos / place
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_text('{\n "config": {\n  "model": "x"}}\n')
    (run / "gates.png").write_bytes(encode(picture(30, 30), "PNG"))
    source = open_folder(photos)
    assert source.classes == ("cat", "dog", "owl")
    assert sum(map(len, files(source).values())) == 60


def test_a_class_may_be_called_runs(photos):
    (photos / "owl").rename(photos / "runs")
    assert open_folder(photos).classes == ("cat", "dog", "runs")


def test_images_without_an_extension_and_folders_that_cannot_be_read(photos, monkeypatch):
    (photos / "cat" / "00.jpg").rename(photos / "cat" / "scan")
    (photos / "dog" / "locked").mkdir()
    os.mkfifo(photos / "dog" / "pipe.jpg")
    scandir = os.scandir

    def refuse(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(UserWarning, match="2 of 62 files") as caught:
        source = open_folder(photos)
    assert "dog/locked: the folder cannot be read: Permission denied" in str(caught[0].message)
    assert "dog/pipe.jpg: not a file" in str(caught[0].message)
    assert "cat/scan" in set().union(*files(source).values())


# --- images to score a network on -----------------------------------------------------------------


def test_a_folder_without_splits_is_taken_whole_by_the_names_of_its_classes(photos):
    split, part = open_labelled(photos, ("owl", "cat", "dog"))
    assert part == "all"
    assert len(split) == 60
    for file, label in zip(split.files, split.labels, strict=True):
        assert ("owl", "cat", "dog")[label] in file
    shutil.rmtree(photos / "cat")
    with pytest.warns(UserWarning, match="no image of 1 of the 3 classes: 'cat'"):
        split, _ = open_labelled(photos, ("owl", "cat", "dog"))
    assert np.bincount(split.labels).tolist() == [20, 0, 20]
    with pytest.raises(ValueError, match="no train, val and test folders, and so no split 'val'"):
        open_labelled(photos, ("owl", "dog"), "val")


def test_classes_that_a_network_does_not_know_are_named_wherever_they_stand(photos):
    for name in "abcdefgh":
        shutil.copytree(photos / "cat", photos / name)
    known = (*"abcdefg", "cat", "dog", "owl")
    with pytest.raises(ValueError, match=r"knows 10 classes .* has others: 'h'\. Rename"):
        open_labelled(photos, known)


def test_the_splits_of_a_folder_can_be_named(photos):
    root = arrange(photos, "val", "test")
    shutil.rmtree(root / "val" / "cat")
    classes = ("cat", "dog", "owl")
    split, part = open_labelled(root, classes)
    assert {f.split("/")[0] for f in split.files} == {part} == {"test"}
    with pytest.warns(UserWarning, match="'cat'"):
        assert len(open_labelled(root, classes, "val")[0]) == 40
    with pytest.raises(ValueError, match="no folder of the split 'train', but 'test', 'val'"):
        open_labelled(root, classes, "train")
    shutil.rmtree(root / "test")
    shutil.copytree(photos / "cat", root / "test")
    with pytest.raises(ValueError, match="test holds 20 images and no class folders"):
        open_labelled(root, classes)


# --- what is wrong with a folder ------------------------------------------------------------------


def test_missing_folder(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere"):
        open_folder(tmp_path / "nowhere")


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match=r"holds no class folder \(0 files.*put the images"):
        open_folder(tmp_path)


def test_images_without_class_folders(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode(picture(8, 8)))
    with pytest.raises(ValueError, match=r"holds no class folder \(1 file directly in it\)"):
        open_folder(tmp_path)


def test_a_file(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode(picture(8, 8)))
    with pytest.raises(ValueError, match="is a file; give the folder"):
        open_folder(tmp_path / "a.jpg")


def test_single_class(photos):
    shutil.rmtree(photos / "dog")
    shutil.rmtree(photos / "owl")
    with pytest.raises(ValueError, match="a single class, 'cat'"):
        open_folder(photos)


def test_a_class_without_image_is_left_out_and_named(photos):
    (photos / "emu").mkdir()
    (photos / "gnu").mkdir()
    (photos / "gnu" / "1.jpg").write_text("not one")
    with (
        pytest.warns(UserWarning, match="1 of 61 files .* is left out, since it"),
        pytest.warns(UserWarning, match="is in 'emu', 'gnu', so the network will not know these"),
    ):
        source = open_folder(photos)
    assert source.classes == ("cat", "dog", "owl")
    assert sum(map(len, files(source).values())) == 60
    assert np.bincount(source.train.labels).tolist() == [14, 14, 14]


def test_a_single_class_with_images(photos):
    for name in ("dog", "owl"):
        for file in (photos / name).iterdir():
            file.unlink()
    with pytest.raises(ValueError, match=r"a single class, 'cat'.*'dog', 'owl': no image"):
        open_folder(photos)


def test_a_class_that_a_split_lacks_is_named_and_goes(photos):
    root = arrange(photos, "train", "val", "test")
    shutil.rmtree(root / "val" / "cat")
    with pytest.warns(UserWarning, match="val has no image of 'cat'; the figures of val say"):
        source = open_folder(root)
    assert source.classes == ("cat", "dog", "owl")
    assert source.val is not None
    assert np.bincount(source.val.labels).tolist() == [0, 20, 20]
    assert all(
        source.classes[k] in f for f, k in zip(names(source.val), source.val.labels, strict=True)
    )


def test_a_test_folder_without_labels_is_named_and_images_of_train_are_held_out(photos):
    root = arrange(photos, "train")
    shutil.copytree(photos / "cat", root / "test")
    with pytest.warns(UserWarning, match=r"test holds 20 images and no class folders"):
        source = open_folder(root)
    assert {f.split("/")[0] for f in names(source.test)} == {"train"}
    assert (len(source.train), len(source.test)) == (42, 12)


def test_one_name_in_two_ways_of_writing_it_is_one_class(photos):
    root = arrange(photos, "train", "test")
    (root / "train" / "owl").rename(root / "train" / "cafe\u0301")
    (root / "test" / "owl").rename(root / "test" / "caf\u00e9")
    source = open_folder(root)
    assert source.classes == ("caf\u00e9", "cat", "dog")
    assert np.bincount(source.test.labels).tolist() == [20, 20, 20]
    assert "caf" in names(source.test)[0]
    assert source.test.labels[0] == 0


def test_splits_of_different_classes(photos):
    root = arrange(photos, "train", "val", "test")
    (root / "val" / "owl").rename(root / "val" / "emu")
    with pytest.raises(ValueError, match=r"val has other classes .*'owl' missing; 'emu' not among"):
        open_folder(root)


def test_single_images(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(encode(picture(8, 8)))
    with pytest.raises(ValueError, match="every class has a single image"):
        open_folder(tmp_path)


# --- what is wrong with files ---------------------------------------------------------------------


@pytest.fixture
def damaged(photos):
    """The photos with three that cannot be read, and what is wrong with each."""
    whole = (photos / "cat" / "03.jpg").read_bytes()
    (photos / "cat" / "03.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    (photos / "dog" / "notes.txt").write_text("remember the dog")
    (photos / "owl" / "link.jpg").symlink_to(photos / "nowhere.jpg")
    return photos


def test_bad_files_are_named_and_left_out(damaged):
    with pytest.warns(UserWarning, match="are left out") as caught:
        source = open_folder(damaged)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "3 of 62 files" in message
    assert "cat/03.jpg: Premature end of JPEG file" in message
    assert "dog/notes.txt: not an image" in message
    assert "owl/link.jpg: there is no such file" in message
    assert source.val is not None
    splits = (source.train, source.val, source.test)
    assert {file for split in splits for file in split.skipped} == {
        str(damaged / name) for name in ("cat/03.jpg", "owl/link.jpg")
    }
    assert sum(map(len, files(source).values())) == 59
    for split in splits:
        assert all(split[i][0].shape[0] == 3 for i in range(len(split)))


def test_many_bad_files_are_counted(photos):
    for i in range(30):
        (photos / "cat" / f"bad{i:02}.jpg").write_text("not one")
    with pytest.warns(UserWarning, match=r"30 of 90 .*(.|\n)*and 20 more$"):
        open_folder(photos)


def test_bad_files_do_not_move_the_split(photos):
    before = files(open_folder(photos))
    bad = sorted(before["train"])[0]
    (photos / bad).write_text("not one any more")
    with pytest.warns(UserWarning, match="1 of 60"):
        after = files(open_folder(photos))
    assert after == before | {"train": before["train"] - {bad}}


def test_verdicts_are_kept(damaged, monkeypatch):
    with pytest.warns(UserWarning, match="3 of 62"):
        before = files(open_folder(damaged))
    tried = []
    attempt = check._try
    monkeypatch.setattr(check, "_try", lambda file: tried.append(file.name) or attempt(file))
    with pytest.warns(UserWarning, match="3 of 62"):
        assert files(open_folder(damaged)) == before
    assert tried == ["link.jpg"]  # what the system says may change without the file
    (damaged / "cat" / "03.jpg").write_bytes(encode(picture(20, 20)))
    with pytest.warns(UserWarning, match="2 of 62"):
        open_folder(damaged)
    assert tried == ["link.jpg", "03.jpg", "link.jpg"]


def test_an_error_of_the_system_is_not_kept(photos, monkeypatch):
    read = check.read_file

    def locked(file):
        if file.name == "07.jpg":
            raise ImageError(f"{file}: locked", "locked") from OSError(11, "locked")
        return read(file)

    monkeypatch.setattr(check, "read_file", locked)
    with pytest.warns(UserWarning, match="3 of 60 files"):
        open_folder(photos)
    monkeypatch.undo()
    assert sum(map(len, files(open_folder(photos)).values())) == 60


def test_another_content_of_the_same_size_and_time_is_looked_at(photos):
    file = photos / "cat" / "03.jpg"
    before, whole = file.stat(), file.read_bytes()
    file.write_bytes(b"\0" * len(whole))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.warns(UserWarning, match="1 of 60"):
        open_folder(photos)
    file.write_bytes(whole)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sum(map(len, files(open_folder(photos)).values())) == 60


def test_verdicts_survive_an_interruption(photos, monkeypatch):
    tried = []
    attempt = check._try

    def interrupted(file):
        tried.append(file)
        if len(tried) == 40:
            raise KeyboardInterrupt
        return attempt(file)

    monkeypatch.setattr(check, "_try", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_folder(photos)
    before = len(tried)
    tried[:] = [None] * 100
    open_folder(photos)
    assert len(tried) - 100 < 60, "what was found out was lost"
    assert before >= 40


@pytest.mark.parametrize("content", ["", "{", "[]", '{"decoders": 3}', '{"files": {"a": 1}}'])
def test_damaged_verdicts_are_found_again(damaged, content):
    with pytest.warns(UserWarning, match="3 of 62"):
        open_folder(damaged)
    check._cache_file(damaged).write_text(content)
    with pytest.warns(UserWarning, match="3 of 62"):
        open_folder(damaged)


def test_nowhere_to_keep_verdicts(photos, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(open_folder(photos).train) == 42


# --- options --------------------------------------------------------------------------------------


def test_with_a_limit_no_other_images_are_looked_at(photos, monkeypatch):
    tried = []
    attempt = check._try
    monkeypatch.setattr(check, "_try", lambda file: tried.append(file) or attempt(file))
    open_folder(photos, limit=3)
    assert len(tried) == 9


def test_limit(photos):
    source = open_folder(photos, limit=6)
    assert source.val is not None
    assert [len(s) for s in (source.train, source.val, source.test)] == [6, 6, 6]
    assert np.bincount(source.train.labels).tolist() == [2, 2, 2]


def test_no_validation(photos):
    source = open_folder(photos, val_share=0)
    assert source.val is None
    assert (len(source.train), len(source.test)) == (48, 12)
    assert open_folder(photos, record=source.record).val is None


def test_grey_network(photos):
    preprocessing = Preprocessing(size=28, mean=(0.3,), std=(0.3,))
    source = open_folder(photos, preprocessing=preprocessing)
    assert source.preprocessing == preprocessing
    assert source.train[0][0].shape[0] == 1
