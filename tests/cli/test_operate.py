"""`senet accelerate`, `senet insert` and `senet fold`."""

import re
import sys

import pytest

from senet.models import create_model
from senet.models.weights.file import save_model
from senet.models.weights.record import Record
from tests.cli.command import said, senet
from tests.cli.test_use import photos


@pytest.fixture
def libraries(world, monkeypatch):
    """The real timm and torchvision, as if they were installed."""
    for library in ("timm", "torchvision"):
        monkeypatch.setitem(sys.modules, library, getattr(world, library))


def test_accelerate_says_what_it_found(libraries, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # so that no cell is wrapped
    text = senet("accelerate", "--model", "timm:legacy_seresnet18").stdout
    assert "accelerated SENet, 1 graph: 20 places changed" in text
    assert re.search(r"(?m)^norm \+ ReLU \+ SE +8 +on the passes", text)


def test_insert_says_what_it_cost(libraries):
    text = senet("insert", "--model", "torchvision:resnet18", "--reduction", "8").stdout
    assert "8 places changed" in text
    assert "new parameters" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tim:resnet18", "no library 'tim'"),
        ("timm:seresnet5", "Did you mean"),
        ("torchvision:resnet19", "Did you mean"),
        ("se_resnet51", "Did you mean"),
    ],
)
def test_networks_of_other_libraries_are_named_in_errors(libraries, name, words):
    assert words in said(senet("accelerate", "--model", name, code=1))


@pytest.mark.slow
def test_few_images_to_fold_by_are_said(tmp_path):
    model = create_model("se_resnet8_cifar", num_classes=2)
    model.classes = ("cat", "dog")
    save_model(tmp_path / "model.safetensors", model, Record.of(model))
    photos(tmp_path / "val" / "cat")
    photos(tmp_path / "val" / "dog")
    words = ("fold", "model.safetensors", "--data", "val")
    few = "one of 4 images is 25.0 % of the accuracy, which is more than may be lost"
    assert few in said(senet(*words))
    assert "more than may be lost" not in said(senet(*words, "--max-loss", "0.25"))
    assert "more than may be lost" not in said(senet(*words, "--tolerance", "0.02"))
