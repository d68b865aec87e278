"""`senet predict` and `evaluate` with weights that no run has made."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from senet.models import create_model
from tests.cli.command import said, senet


@pytest.fixture
def weights(tmp_path):
    """A network of 1000 classes that says "goldfish" to every image."""
    model = create_model("se_resnet8_cifar", num_classes=1000)
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.zero_()[1] = 9.0
    torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pth")
    return "w.pth", "--model", "se_resnet8_cifar"


def photos(folder, count=2):
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg")


def test_published_weights_predict_with_imagenets_names(weights, tmp_path):
    photos(tmp_path / "new")
    rows = json.loads(senet("predict", *weights, "new", "--format", "json").stdout)
    assert [row["class"] for row in rows] == ["goldfish"] * 2


def test_folders_of_wordnet_ids_are_evaluated_against_them(weights, tmp_path):
    photos(tmp_path / "val" / "n01443537", 3)  # goldfish
    photos(tmp_path / "val" / "n01440764", 1)  # tench
    found = json.loads(
        senet("evaluate", *weights, "--data", "val", "--workers", "0", "--json").stdout
    )
    assert (found["images"], found["accuracy"]) == (4, 0.75)
    assert found["class_accuracy"]["goldfish"] == 1


def test_folders_of_their_names_are_too(weights, tmp_path):
    photos(tmp_path / "val" / "goldfish", 1)
    photos(tmp_path / "val" / "tench", 1)
    out = senet("evaluate", *weights, "--data", "val", "--workers", "0").stdout
    assert "50.0 %" in out


def test_classes_without_names_are_those_of_the_images_in_their_order(tmp_path):
    model = create_model("se_resnet8_cifar", num_classes=3)
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.zero_()[1] = 9.0
    torch.save(model.state_dict(), tmp_path / "w.pth")
    for name, count in (("cat", 1), ("dog", 3), ("eel", 2)):
        photos(tmp_path / "val" / name, count)
    words = ("evaluate", "w.pth", "--model", "se_resnet8_cifar", "--workers", "0", "--data")
    result = senet(*words, "val", "--json")
    found = json.loads(result.stdout)
    assert found["class_accuracy"] == {"cat": 0, "dog": 1, "eel": 0}
    assert "taken to be those of val in their order, 'cat', 'dog', 'eel'" in said(result)
    (tmp_path / "val").rename(tmp_path / "numbers")
    for number, name in enumerate(("eel", "dog", "cat")):
        (tmp_path / "numbers" / name).rename(tmp_path / "numbers" / str(number))
    result = senet(*words, "numbers", "--json")
    assert json.loads(result.stdout)["class_accuracy"] == {"0": 0, "1": 1, "2": 0}
    assert "in their order" not in said(result)
    (tmp_path / "numbers" / "2").rename(tmp_path / "numbers" / "fish")
    assert "in their order, '0', '1', 'fish'" in said(senet(*words, "numbers"))
    photos(tmp_path / "numbers" / "gnu")
    assert "knows 3 classes" in said(senet(*words, "numbers", code=1))


def test_images_are_needed_and_said(weights):
    assert "name the images" in said(senet("evaluate", *weights, code=1))


def test_a_network_that_does_not_exist_is_refused_first(weights):
    output = said(senet("predict", "w.pth", "--model", "se_resnet9_cifar", "a.jpg", code=1))
    assert "no network 'se_resnet9_cifar'" in output


def test_a_report_of_weights_on_images_is_one_page(weights, tmp_path):
    photos(tmp_path / "val" / "n01443537", 3)  # goldfish
    photos(tmp_path / "val" / "n01440764", 1)  # tench
    out = senet("report", *weights, "--data", "val", "--out", "page.html").stdout
    page = (tmp_path / "page.html").read_text()
    assert out.strip() == "page.html"
    assert "senet evaluation" in page
    assert "se_resnet8_cifar on val" in page
    assert "3 of the 4 test images" in page
    assert "each class counted alike" in page
    assert "senet report w.pth" in page
    assert "--model se_resnet8_cifar" in page
    assert 'id="gates"' in page
    assert "tench" in page
    assert not [word for word in ("trained for", "<script") if word in page]
    again = senet("report", *weights, "--data", "val", "--out", "page.html", code=1)
    assert "already exists" in said(again)


def test_a_report_needs_images_and_says_so(weights, tmp_path):
    assert "name images with their labels, --data" in said(senet("report", "w.pth", code=1))
    assert "--data" in said(senet("report", "w.pth", "--out", "a.html", code=2))
    assert "there is no run folder" in said(senet("report", "gone", code=1))
