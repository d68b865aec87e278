"""Features of images, their files, and the images that are most alike."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from senet.models import create_model
from senet.models.weights.file import save_model
from senet.models.weights.record import Record
from senet.serving import embed
from senet.serving.embed import Embedder
from tests.cli.command import said, senet


@pytest.fixture
def weights(tmp_path):
    model = create_model("se_resnet8_cifar", num_classes=3).eval()
    save_model(tmp_path / "model.safetensors", model, Record.of(model))
    return tmp_path / "model.safetensors"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in ("red", (200, 20, 20)), ("rose", (210, 30, 40)), ("blue", (20, 20, 200)):
        Image.new("RGB", (40, 50), colour).save(folder / f"{name}.png")
    return folder


def test_features_are_what_the_network_says_before_its_classifier(weights, photos):
    embedder = Embedder.load(weights)
    found = embedder.embed([str(photos / "red.png"), str(photos / "gone.png")])
    assert found.files == (str(photos / "red.png"),)
    assert list(found.errors) == [str(photos / "gone.png")]
    whole = create_model("se_resnet8_cifar", weights=weights).eval()
    image = embedder.image(photos / "red.png")[None]
    with torch.no_grad():
        logits = whole.fc(torch.from_numpy(found.features))
    predicted = embed.Predictor.load(weights).outputs(image)
    torch.testing.assert_close(logits, predicted, rtol=1e-4, atol=1e-5)


def test_weights_without_a_classifier_will_do(photos, tmp_path, recwarn):
    model = create_model("se_resnet8_cifar", num_classes=0)
    torch.save(model.state_dict(), tmp_path / "body.pth")
    found = Embedder.load(tmp_path / "body.pth", network="se_resnet8_cifar")
    assert found.embed([str(photos / "red.png")]).features.shape == (1, 64)
    (warned,) = recwarn.list
    assert "normalized" in str(warned.message)


@pytest.mark.parametrize("suffix", embed.SUFFIXES)
def test_files_hold_them(weights, photos, tmp_path, suffix):
    found = Embedder.load(weights).embed([str(photos / f"{n}.png") for n in ("red", "blue")])
    out = tmp_path / f"features{suffix}"
    embed.write(out, found)
    if suffix == ".npz":
        with np.load(out) as file:
            files, features = file["files"].tolist(), file["features"]
    elif suffix == ".csv":
        rows = list(csv.reader(out.read_text().splitlines()))[1:]
        files, features = [r[0] for r in rows], np.array([r[1:] for r in rows], float)
    else:
        table = pytest.importorskip("pyarrow.parquet").read_table(out).to_pydict()
        files, features = table["file"], np.array(table["features"])
    assert tuple(files) == found.files
    np.testing.assert_allclose(features, found.features, rtol=1e-5)
    with pytest.raises(FileExistsError, match="already exists"):
        embed.write(out, found)


def test_the_command_writes_and_finds_what_is_alike(weights, photos, tmp_path):
    out = tmp_path / "f.npz"
    like = ("--like", photos / "red.png", "--top", "2")
    text = senet("embed", weights, photos, "--out", out, *like).stdout
    written = senet("embed", weights, photos, "--out", f"{out}.npz")
    assert "3 × 64 features written to" in said(written)
    lines = [line for line in text.splitlines() if line.endswith(".png")]
    assert [line.split("/")[-1] for line in lines] == ["red.png", "rose.png"]
    assert lines[0].startswith("1.000")


def test_what_cannot_be_is_refused_first(weights, photos, tmp_path):
    assert "say what for" in said(senet("embed", weights, photos, code=2))
    out = tmp_path / "f.xlsx"
    assert "written as .parquet" in said(senet("embed", weights, photos, "--out", out, code=1))
    gone = tmp_path / "gone.png"
    assert "there is no image" in said(senet("embed", weights, photos, "--like", gone, code=1))
