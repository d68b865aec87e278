"""The names and places that can be written after --data."""

import pytest

from senet.data import open_source, registry
from senet.preprocessing import IMAGENET, Preprocessing


def test_bundled_is_the_default():
    source = open_source()
    assert source.name == "fashion-mnist"
    assert source.val is not None
    assert (len(source.train), len(source.val), len(source.test)) == (9000, 1000, 2000)
    assert source.record is None


def test_bundled_with_a_limit():
    source = open_source(limit=100)
    assert (len(source.train), len(source.test)) == (100, 100)


@pytest.mark.parametrize("as_type", [str, lambda path: path, lambda path: f"{path}/"])
def test_folder_of_photos(photos, as_type):
    source = open_source(as_type(photos), seed=1)
    assert source.classes == ("cat", "dog", "owl")
    assert source.preprocessing == IMAGENET
    again = open_source(photos, record=source.record)
    assert again.record == source.record


def test_home_is_understood(photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos.parent))
    assert open_source("~/photos").name == "photos"


def test_known_preprocessing(photos):
    grey = Preprocessing(size=32, mean=(0.4,), std=(0.3,))
    assert open_source(photos, preprocessing=grey).train[0][0].shape[0] == 1


def test_folder_of_mosaics():
    source = open_source(registry.BUNDLED_FOLDER, limit=10)
    assert source.name == "fashion_mnist"
    assert len(source.train) == 10


@pytest.fixture
def asked(monkeypatch):
    """The names that the hub was asked for, with the hub out of reach."""
    names = []

    def unreachable(name, *_, **__):
        names.append(name)
        raise ValueError(f"{name!r}: the Hugging Face hub cannot be reached")

    monkeypatch.setattr(registry, "open_hub", unreachable)
    return names


@pytest.mark.parametrize(
    ("name", "on_the_hub"),
    [("cifar10", "uoft-cs/cifar10"), ("cifar100", "uoft-cs/cifar100"), ("beans", "beans"),
     ("owner/name", "owner/name"), ("owner/name:small", "owner/name:small")],
)  # fmt: skip
def test_names_of_the_hub(asked, name, on_the_hub):
    with pytest.raises(ValueError, match="cannot be reached"):
        open_source(name)
    assert asked == [on_the_hub]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("fashion_mnist", "fashion-mnist"),
        ("Fashion-MNIST", "fashion-mnist"),
        ("cifar-10", "cifar10"),
        ("cifr100", "cifar100"),
    ],
)
def test_did_you_mean(asked, name, meant):
    with pytest.raises(ValueError, match=f"did you mean '{meant}'.*What can be given"):
        open_source(name)
    assert asked == []


@pytest.mark.parametrize("name", ["./photos", "/no/such/folder", "../no-such-folder", "~/x"])
def test_places_that_are_not_there_are_not_answered_with_a_list_of_data_sets(asked, name):
    with pytest.raises(ValueError, match="there is no folder") as error:
        open_source(name)
    assert "What can be given" not in str(error.value)
    assert asked == []


def test_of_a_folder_that_has_moved_it_is_said_how_far_its_path_leads(photos):
    with pytest.raises(ValueError, match=r"no folder '.*/fotos'\. Did you mean photos\?"):
        open_source(photos.parent / "fotos")
    with pytest.raises(ValueError, match=r"there is no '.*/gone' either$"):
        open_source(photos.parent / "gone" / "far" / "photos")


@pytest.mark.parametrize("name", ["a/b/c", "my photos"])
def test_what_is_neither_a_place_nor_a_name(asked, name):
    with pytest.raises(ValueError, match=r"there is no folder .*What can be given"):
        open_source(name)
    assert asked == []


def test_variables_are_understood(photos, monkeypatch):
    monkeypatch.setenv("WHERE", str(photos.parent))
    assert open_source("$WHERE/photos").name == "photos"


def test_a_name_that_is_neither_folder_nor_known(asked):
    with pytest.raises(ValueError, match=r"no folder 'zebras' here, and .*What can be given"):
        open_source("zebras")


def test_nothing():
    with pytest.raises(ValueError, match=r"no data set was named. What can be given"):
        open_source("")


def test_a_file(photos):
    with pytest.raises(ValueError, match="is a file"):
        open_source(photos / "cat" / "00.jpg")
