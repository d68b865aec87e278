"""Data sets of ``datasets``, read from parquet files like those of the hub."""

import sys

import numpy as np
import pytest
from PIL import Image as PillowImage

from senet.data import hub
from senet.data.arrays import ArraySplit
from senet.data.hub import HubSplit, open_hub
from senet.preprocessing import IMAGENET, Preprocessing
from tests.data.conftest import encode, picture

datasets = pytest.importorskip("datasets", reason="needs datasets: pip install 'senet[hub]'")
from datasets import ClassLabel, Features, Image, Value  # noqa: E402


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """A function that writes splits as parquet files, and returns the folder to load."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "published"

    def write(features: dict, **splits: dict) -> str:
        for name, columns in splits.items():
            table = datasets.Dataset.from_dict(columns, features=Features(features))
            (folder / "data").mkdir(parents=True, exist_ok=True)
            table.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
        return str(folder)

    return write


def images(n: int, side: int, grey: bool = False) -> list[PillowImage.Image]:
    made = [PillowImage.fromarray(picture(side, side, seed)) for seed in range(n)]
    return [image.convert("L") for image in made] if grey else made


NAMES = ClassLabel(names=["ant", "bee"])


def test_small_images_are_held_in_memory(publish):
    labels = [0, 1] * 10
    pictures = images(20, 16)
    name = publish(
        {"img": Image(), "label": NAMES},
        train={"img": pictures, "label": labels},
        test={"img": pictures[:4], "label": labels[:4]},
    )
    source = open_hub(name)
    assert source.classes == ("ant", "bee")
    assert isinstance(source.train, ArraySplit)
    assert source.val is not None
    assert (len(source.train), len(source.val), len(source.test)) == (18, 2, 4)
    assert source.preprocessing.size == 16
    assert source.preprocessing.mean != IMAGENET.mean
    for i in range(4):
        assert source.test[i][0].permute(1, 2, 0).numpy().tolist() == np.array(pictures[i]).tolist()
        assert source.test[i][1] == labels[i]


def test_grey_images_have_one_channel(publish):
    columns = {"image": images(8, 28, grey=True), "label": [0, 1] * 4}
    name = publish({"image": Image(), "label": NAMES}, train=columns, test=columns)
    source = open_hub(name)
    assert source.preprocessing.channels == 1
    assert source.train[0][0].shape == (1, 28, 28)


def test_photos_are_decoded_when_needed(publish):
    photos = [{"bytes": encode(picture(100 + i, 120, i)), "path": None} for i in range(12)]
    name = publish(
        {"image": Image(), "label": NAMES, "id": Value("int64")},
        train={"image": photos, "label": [0, 1] * 6, "id": list(range(12))},
        validation={"image": photos[:4], "label": [0, 1] * 2, "id": list(range(4))},
    )
    source = open_hub(name, seed=2)
    assert isinstance(source.train, HubSplit)
    assert source.preprocessing == IMAGENET
    # The one set beside train is the test set; validation comes from train.
    assert source.val is not None
    assert (len(source.train), len(source.val), len(source.test)) == (10, 2, 4)
    assert source.test[3][0].shape == (3, 103, 120)
    heights = sorted(
        split[i][0].shape[1] for split in (source.train, source.val) for i in range(len(split))
    )
    assert heights == list(range(100, 112))
    limited = open_hub(name, limit=2)
    assert (len(limited.train), len(limited.test)) == (2, 2)


def test_a_damaged_image_is_named(publish):
    photos = [{"bytes": encode(picture(100, 120, i)), "path": None} for i in range(4)]
    photos[2] = {"bytes": photos[2]["bytes"][:900], "path": None}
    name = publish(
        {"image": Image(), "label": NAMES},
        train={"image": photos, "label": [0, 1] * 2},
        test={"image": photos, "label": [0, 1] * 2},
    )
    with pytest.raises(ValueError, match=r"image 2 of test of .*: "):
        open_hub(name).test[2]


def test_the_finest_labels_are_taken(publish):
    fine, coarse = ClassLabel(names=list("abcd")), ClassLabel(names=["x", "y"])
    columns = {"img": images(8, 8), "broad": [0, 0, 1, 1] * 2, "narrow": [0, 1, 2, 3] * 2}
    name = publish({"img": Image(), "broad": coarse, "narrow": fine}, train=columns, test=columns)
    assert open_hub(name).classes == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("kind", "values", "classes"),
    [("string", ["owl", "ant"], ("ant", "owl")), ("int64", [7, 3], ("3", "7"))],
)
def test_labels_without_names(publish, kind, values, classes):
    columns = {"img": images(8, 8), "label": values * 4}
    name = publish({"img": Image(), "label": Value(kind)}, train=columns, test=columns)
    source = open_hub(name)
    assert source.classes == classes
    assert [source.classes[c] for c in source.test.labels] == [str(v) for v in values] * 4


def test_a_test_set_without_labels_is_none(publish):
    train = {"img": images(20, 8), "label": [0, 1] * 10}
    name = publish(
        {"img": Image(), "label": NAMES},
        train=train,
        validation={"img": images(6, 8), "label": [0, 1] * 3},
        test={"img": images(4, 8), "label": [-1] * 4},
    )
    source = open_hub(name)
    assert len(source.test) == 6
    assert source.val is not None
    assert (len(source.train), len(source.val)) == (18, 2)


def test_labels_missing_in_part(publish):
    columns = {"img": images(4, 8), "label": [0, 1, None, 1]}
    name = publish({"img": Image(), "label": NAMES}, train=columns)
    with pytest.raises(ValueError, match="1 of 4 images have no known label"):
        open_hub(name)


def test_known_preprocessing_decides_the_channels(publish):
    grey = Preprocessing(size=8, mean=(0.4,), std=(0.3,))
    columns = {"img": images(8, 8), "label": [0, 1] * 4}
    name = publish({"img": Image(), "label": NAMES}, train=columns, test=columns)
    source = open_hub(name, preprocessing=grey)
    assert source.preprocessing == grey
    assert source.train[0][0].shape == (1, 8, 8)


def test_tables_without_what_is_needed(publish, tmp_path):
    text = {"text": ["a", "b"], "label": [0, 1]}
    with pytest.raises(ValueError, match="no column of images, but 'text', 'label'"):
        open_hub(publish({"text": Value("string"), "label": NAMES}, train=text))


def test_images_without_labels(publish):
    columns = {"img": images(2, 8), "caption": ["an ant", "a bee"]}
    with pytest.raises(ValueError, match="no column of class labels, but 'img', 'caption'"):
        open_hub(publish({"img": Image(), "caption": Value("string")}, train=columns))


def test_no_train_split(publish):
    columns = {"img": images(2, 8), "label": [0, 1]}
    with pytest.raises(ValueError, match="no split 'train', but 'test'"):
        open_hub(publish({"img": Image(), "label": NAMES}, test=columns))


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'senet\[hub\]'"):
        open_hub("beans")


def test_offline(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"hub cannot be reached .*bundled 'fashion-mnist'"):
        open_hub("no-such-owner/no-such-data")


def test_a_name_with_a_configuration(monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *a: asked.append(a) or {"train": None})
    hub._load("owner/name:small")
    hub._load("owner/name")
    assert asked == [("owner/name", "small"), ("owner/name", None)]
