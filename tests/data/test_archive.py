"""Archives are extracted once, and what would harm is refused."""

import io
import os
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest

from senet.data import ImageError, loader, open_source
from senet.data.archive import SPARE, extracted
from senet.data.folder import open_labelled
from senet.data.loaders import unreadable
from senet.data.transforms import CentreCrop
from senet.paths import is_images
from tests.data.conftest import encode, picture
from tests.data.test_folder import files


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def tarred(path, members):
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


MAKERS = {"photos.zip": zipped, "photos.tar": tarred, "photos.tar.gz": tarred, "photos.TGZ": tarred}


def members(photos, prefix=""):
    return {
        prefix + path.relative_to(photos).as_posix(): path.read_bytes()
        for path in photos.rglob("*.jpg")
    }


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("prefix", ["", "holiday/photos/"])
def test_an_archive_is_the_folder_that_it_holds(photos, tmp_path, name, prefix):
    archive = MAKERS[name](tmp_path / name, members(photos, prefix))
    source = open_source(archive)
    folder = open_source(photos)
    assert source.name == name
    assert source.classes == folder.classes
    assert files(source) == files(folder)
    assert source.path == str(archive)
    assert source.train[0][0].equal(folder.train[0][0])


def test_it_is_extracted_once(photos, tmp_path, monkeypatch):
    archive = zipped(tmp_path / "photos.zip", members(photos))
    folder = extracted(archive)
    monkeypatch.setattr("senet.data.archive._extract", lambda *_: pytest.fail("extracted again"))
    assert extracted(archive) == folder
    (tmp_path / "elsewhere").mkdir()
    assert extracted(archive.rename(tmp_path / "elsewhere" / "photos.zip")) == folder


def test_a_changed_archive_is_another(photos, tmp_path):
    archive = zipped(tmp_path / "photos.zip", members(photos))
    before = extracted(archive)
    zipped(archive, {**members(photos), "cat/new.jpg": encode(picture(30, 30))})
    after = extracted(archive)
    assert after != before
    assert (after / "cat" / "new.jpg").is_file()


def test_the_record_of_a_run_opens_the_archive_again(photos, tmp_path):
    source = open_source(zipped(tmp_path / "photos.zip", members(photos)))
    again = open_source(source.path, record=source.record)
    assert files(again) == files(source)


@pytest.mark.parametrize(
    "name", ["../evil.jpg", "cat/../../evil.jpg", "/evil.jpg", "..\\evil.jpg", "C:/evil.jpg"]
)
@pytest.mark.parametrize("maker", ["photos.zip", "photos.tar"])
def test_names_that_lead_out_are_refused(photos, tmp_path, maker, name):
    inside = {**members(photos), name: encode(picture(30, 30))}
    archive = MAKERS[maker](tmp_path / maker, inside)
    with pytest.raises(ValueError, match=r"refused: it holds the file .*evil\.jpg'"):
        open_source(archive)
    assert not list(tmp_path.rglob("evil.jpg"))
    assert nothing_is_left()


def nothing_is_left():
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "senet" / "archives"
    return not [entry for entry in folder.iterdir() if entry.suffix != ".lock"]


def test_links_are_not_followed_or_made(photos, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(encode(picture(30, 30)))
    archive = tmp_path / "photos.tar"
    with tarfile.open(archive, "w") as file:
        for kind, name in ((tarfile.SYMTYPE, "cat/s.jpg"), (tarfile.LNKTYPE, "cat/h.jpg")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            file.addfile(info)
        device = tarfile.TarInfo("cat/d.jpg")
        device.type = tarfile.CHRTYPE
        file.addfile(device)
        for name, content in members(photos).items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o4777
            file.addfile(info, io.BytesIO(content))
    found = [path for path in extracted(archive).rglob("*") if path.is_file()]
    assert len(found) == 60
    assert not any(path.is_symlink() or path.stat().st_mode & 0o4111 for path in found)

    link = zipfile.ZipInfo("cat/s.jpg")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as zip_file:
        zip_file.writestr(link, str(secret))
        for name, content in members(photos).items():
            zip_file.writestr(name, content)
    assert not list(extracted(tmp_path / "links.zip").rglob("s.jpg"))


@pytest.mark.parametrize("maker", ["photos.zip", "photos.tar.gz"])
def test_an_extraction_bomb_is_stopped_on_its_way(tmp_path, maker, monkeypatch):
    monkeypatch.setattr("senet.data.archive.SPARE", 1_000_000)
    archive = MAKERS[maker](tmp_path / maker, {"cat/1.jpg": bytes(50_000_000)})
    assert archive.stat().st_size * 100 < 40_000_000
    with pytest.raises(ValueError, match="refused as an extraction bomb"):
        open_source(archive)
    assert nothing_is_left()
    assert SPARE == 100_000_000


def test_many_empty_files_are_a_bomb_too(tmp_path, monkeypatch):
    monkeypatch.setattr("senet.data.archive.SPARE", 0)
    monkeypatch.setattr("senet.data.archive.RATIO", 1)
    archive = zipped(tmp_path / "photos.zip", {f"cat/{i}.jpg": b"" for i in range(100)})
    with pytest.raises(ValueError, match="bomb"):
        extracted(archive)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_damaged_archive_is_named(photos, tmp_path, maker):
    archive = MAKERS[maker](tmp_path / maker, members(photos))
    archive.write_bytes(archive.read_bytes()[:20_000])
    with pytest.raises(ValueError, match=rf"(?i){maker} cannot be unpacked: \w"):
        open_source(archive)
    assert nothing_is_left()
    archive.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"cannot be unpacked: \w"):
        open_source(archive)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_flipped_byte_is_damage_too(photos, tmp_path, kind):
    archive = tmp_path / f"photos.tar.{kind}"
    with tarfile.open(archive, f"w:{kind}") as file:
        file.add(photos, "photos")
    data = bytearray(archive.read_bytes())
    for at in range(len(data) // 2, len(data) // 2 + 50):
        data[at] ^= 255
    archive.write_bytes(data)
    with pytest.raises(ValueError, match=r"cannot be unpacked: \w"):
        open_source(archive)
    assert nothing_is_left()


def test_a_folder_may_be_named_like_an_archive(photos):
    folder = photos.rename(photos.with_name("photos.zip"))
    assert open_source(folder).counts == {"train": 42, "val": 6, "test": 12}
    assert is_images(folder)


def test_an_interruption_leaves_nothing(photos, tmp_path, monkeypatch):
    archive = zipped(tmp_path / "photos.zip", members(photos))

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("senet.data.archive._write", stop)
        with pytest.raises(KeyboardInterrupt):
            extracted(archive)
    assert nothing_is_left()
    assert len(list(extracted(archive).rglob("*.jpg"))) == 60


# --- names in messages ----------------------------------------------------------------------------

TORN = encode(picture(40, 60))[:-200]
GOOD = encode(picture(40, 60))


def messages_of(call):
    """Return the warnings of a call and its error, if there is one."""
    error = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except ValueError as one:
            error = [str(one)]
    return [str(one.message) for one in caught] + error


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ({"cat/torn.jpg": TORN}, ["1 of 61 files in photos.zip is left out", "  cat/torn.jpg: "]),
        ({"cat/a.txt": b"text"}, ["1 of 61 files in photos.zip is left out", "  cat/a.txt: not"]),
        ({"fox/torn.jpg": TORN}, ["photos.zip: no image that can be read is in 'fox'"]),
    ],
)
def test_what_is_left_out_of_an_archive_is_named_by_it(photos, tmp_path, inside, expected):
    archive = zipped(tmp_path / "photos.zip", members(photos) | inside)
    found = "\n".join(messages_of(lambda: open_source(archive)))
    for words in expected:
        assert words in found, found
    assert os.environ["XDG_CACHE_HOME"] not in found


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ({"1.jpg": GOOD}, "photos.zip holds no class folder"),
        ({"cat/1.jpg": GOOD, "dog/1.jpg": TORN}, "photos.zip holds a single class, 'cat'"),
        ({"train/cat/1.jpg": GOOD, "train/dog/1.jpg": GOOD, "test/owl/1.jpg": GOOD},
         "photos.zip: test has other classes than train"),
        ({"train/cat/1.jpg": GOOD, "test/dog/1.jpg": GOOD, "other/cat/1.jpg": GOOD},
         "photos.zip: the folders 'other', 'test', 'train' are neither"),
        ({"a/b/train/1.jpg": GOOD, "a/b/test/1.jpg": GOOD},
         "photos.zip/a/b/train holds no class folder"),
    ],
)  # fmt: skip
def test_an_archive_that_is_refused_is_named(tmp_path, inside, expected):
    archive = zipped(tmp_path / "photos.zip", inside)
    error = messages_of(lambda: open_source(archive))[-1]
    assert error.startswith(expected), error
    assert os.environ["XDG_CACHE_HOME"] not in error


def test_images_of_an_archive_to_score_are_named_by_it(photos, tmp_path):
    archive = zipped(tmp_path / "photos.zip", members(photos, "test/") | {"test/cat/t.jpg": TORN})
    classes = ("cat", "dog", "owl", "fox")
    found = messages_of(lambda: open_labelled(archive, classes))
    assert found[0].startswith("1 of 61 files in photos.zip/test is left out")
    assert "photos.zip/test has no image of 1 of the 4 classes: 'fox'" in found
    (error,) = messages_of(lambda: open_labelled(archive, classes, "val"))
    assert error.startswith("photos.zip/test has no train, val and test folders")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        split, _ = open_labelled(archive, classes)
    assert list(split.skipped) == ["photos.zip/test/cat/t.jpg"]


def test_an_image_of_an_archive_that_vanishes_is_named_by_it(photos, tmp_path):
    train = open_source(zipped(tmp_path / "photos.zip", members(photos))).train
    Path(train.paths[0]).unlink()
    with pytest.raises(ImageError, match=r"^photos\.zip/cat/\d+\.jpg: there is no such file$"):
        train.picture(0)
    batches = loader(train, 4, CentreCrop(8), workers=0, substitutes=2)
    list(batches)
    assert unreadable(batches) == {f"photos.zip/{train.files[0]}": "there is no such file"}
