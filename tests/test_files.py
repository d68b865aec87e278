"""Files are whole or not there, and the umask says who may read them."""

import errno
import hashlib
import os
import stat
import threading

import pytest
import torch
from safetensors.torch import save_file

from senet import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def old(tmp_path):
    """A file from before."""
    path = tmp_path / "model.txt"
    path.write_text("old")
    return path


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def with_safetensors(path):
    with files.whole(path) as aside:
        save_file({"a": torch.zeros(1)}, aside)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: files.write_bytes(path, b"new"),
        lambda path: files.write_text(path, "new"),
        with_safetensors,
    ],
    ids=["bytes", "text", "safetensors"],
)
def test_a_file_may_be_read_by_whom_the_umask_says(write, umask, tmp_path):
    path = tmp_path / "file"
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_file_is_replaced_only_when_the_new_one_is_whole(old):
    with files.whole(old) as aside:
        aside.write_text("new")
        assert old.read_text() == "old"
        assert aside.parent == old.parent  # a rename does not leave the disk
        assert aside.suffix == old.suffix  # some writers look at it
    assert old.read_text() == "new"
    assert names(old.parent) == ["model.txt"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "no space left"), KeyboardInterrupt(), ValueError("no number")]
)
def test_an_error_in_the_midst_leaves_the_old_file_and_no_litter(error, old):
    def fail():
        with files.whole(old) as aside:
            aside.write_text("ne")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert old.read_text() == "old"
    assert names(old.parent) == ["model.txt"]


def test_a_rename_that_fails_leaves_the_old_file_and_no_litter(old, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="input/output error"):
        files.write_text(old, "new")
    assert old.read_text() == "old"
    assert names(old.parent) == ["model.txt"]


def test_content_of_another_kind_leaves_the_old_file(old):
    with pytest.raises(TypeError):
        files.write_bytes(old, "text is not bytes")  # type: ignore[arg-type]
    assert old.read_text() == "old"
    assert names(old.parent) == ["model.txt"]


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.write_text(tmp_path / "gone" / "a.txt", "text")


def test_two_threads_may_write_the_same_file(old):
    """Each writes a file of its own aside; the last one to end stays."""
    both = threading.Barrier(2)

    def write(text):
        with files.whole(old) as aside:
            both.wait()
            aside.write_text(text)
            both.wait()

    threads = [threading.Thread(target=write, args=(t,)) for t in ("aaaa", "bbbb")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert old.read_text() in ("aaaa", "bbbb")
    assert names(old.parent) == ["model.txt"]


def test_what_is_continued_stays_until_it_is_whole(tmp_path):
    path = tmp_path / "weights.pth"

    def lose():
        with files.continued(path) as part:
            part.write_bytes(b"first ")
            raise TimeoutError

    with pytest.raises(TimeoutError):
        lose()
    assert names(tmp_path) == ["weights.pth.part"]
    with files.continued(path) as part, part.open("ab") as stream:
        stream.write(b"second")
    assert names(tmp_path) == ["weights.pth"]
    assert path.read_bytes() == b"first second"


def test_the_checksum_of_a_file(old):
    assert files.sha256(old) == hashlib.sha256(b"old").hexdigest()


def test_a_folder_is_whole_or_not_there(tmp_path):
    with files.whole_folder(tmp_path / "photos") as aside:
        (aside / "cat").mkdir()
        (aside / "cat" / "1.jpg").write_text("x")
        assert not (tmp_path / "photos").exists()
    assert (tmp_path / "photos" / "cat" / "1.jpg").is_file()

    def interrupted():
        with files.whole_folder(tmp_path / "more") as aside:
            (aside / "1.jpg").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize("writing", [files.whole, files.new])
def test_errors_name_the_file_to_write(writing, tmp_path):
    """A copy that fails on a full disk names the file that was read, and others the one aside."""
    place = tmp_path / "a.jpg"
    with pytest.raises(OSError, match="No space") as full, writing(place):
        raise OSError(errno.ENOSPC, "No space left on device", "photos/a.jpg", None, "x")
    assert (full.value.filename, full.value.filename2) == (str(place), None)
    with pytest.raises(FileNotFoundError) as gone, writing(tmp_path / "none/a.jpg") as aside:
        aside.write_bytes(b"")
    assert gone.value.filename == str(tmp_path / "none/a.jpg")
    with pytest.raises(FileNotFoundError) as other, writing(place):
        os.stat("gone.jpg")
    assert other.value.filename == "gone.jpg"


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left(old, tmp_path):
    files.require_writable(old)
    files.require_writable(tmp_path / "new.txt")
    assert names(tmp_path) == ["model.txt"]
    assert old.read_text() == "old"
    with pytest.raises(NotADirectoryError) as error:
        files.require_writable(old / "new.txt")
    assert error.value.filename == str(old / "new.txt")
