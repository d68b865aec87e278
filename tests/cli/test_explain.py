"""`senet explain`: a page of the gates of a network that a user names."""

import csv
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from senet.models import Preprocessing, create_model
from senet.models.weights.file import save_model
from senet.models.weights.imagenet import class_names
from senet.models.weights.record import Record
from tests.cli.command import said, senet

PREPROCESSING = Preprocessing(32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            pixels = 60 * k + rng.integers(0, 120, (40, 36, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"photos/{name}/{i}.png")
    return tmp_path / "photos"


@pytest.fixture
def weights(tmp_path):
    return saved(tmp_path / "model.safetensors", "se_resnet8_cifar")


def saved(path, name):
    model = create_model(name, num_classes=2)
    save_model(path, model, Record(model.architecture, PREPROCESSING, ("cat", "dog")))
    return path


def test_a_model_file_is_explained_on_a_folder(weights, photos):
    image = photos / "cat" / "0.png"
    out = senet("explain", weights, "--data", photos, "--image", image, "--out", "o").output
    assert "layer3.0.se" in out
    assert "o/explain.html" in out
    html = (photos.parent / "o" / "explain.html").read_text()
    assert "40 images of 2 classes" in html
    assert "One image: 0.png" in html
    assert "weights of this network are random" not in html


def test_most_images_are_drawn_from_all(weights, photos):
    senet("explain", weights, "--data", photos, "--limit", 10, "--out", "o", "--language", "zh-TW")
    html = (photos.parent / "o" / "explain.html").read_text()
    assert "These are 10 of the 40 images" in html
    assert '<html lang="zh-TW">' in html


def test_a_network_by_name_says_that_its_weights_are_random(photos):
    senet("explain", "se_resnet8_cifar", "--data", photos, "--limit", 8)
    html = (photos.parent / "explained/se_resnet8_cifar/explain.html").read_text()
    assert "The weights of this network are random" in html


def test_what_cannot_be_explained_says_what_to_do(weights, photos, tmp_path):
    plain = saved(tmp_path / "plain.safetensors", "resnet8_cifar")
    assert "insert_se" in said(senet("explain", plain, "--data", photos, code=1))
    assert "--data" in said(senet("explain", "se_resnet8_cifar", code=1))
    assert "nothing" not in said(senet("explain", "nothing.safetensors", "--out", "o", code=1))[:9]
    (photos / "cat").rename(photos / "lynx")
    result = senet("explain", weights, "--data", photos, "--out", "o", code=1)
    assert "lynx" in said(result)
    (photos / "lynx").rename(photos / "cat")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 cut off")
    words = ("--data", photos, "--image", broken, "--out", "o")
    assert "broken.jpg" in said(senet("explain", weights, *words, code=1))
    assert not (tmp_path / "o").exists()


def test_a_folder_that_exists_is_refused_before_anything_is_read(weights, photos):
    result = senet("explain", weights, "--data", "nowhere", "--out", photos, code=1)
    assert "exists already" in said(result)


def test_an_interrupted_recording_keeps_what_was_recorded(weights, photos, monkeypatch):
    def interrupting(batches, total, what, unit):
        assert total == {"recording": 2, "replacing gates": 2, "looking at images": 0}[what]
        for batch in batches:
            signal.raise_signal(signal.SIGINT)
            yield batch

    monkeypatch.setattr("senet.cli.explain.watched", interrupting)
    before = signal.getsignal(signal.SIGINT)
    result = senet("explain", weights, "--data", photos, "--out", "o")
    assert "interrupted: everything is about what was done until then" in said(result)
    html = (photos.parent / "o" / "explain.html").read_text()
    assert "interrupted after 32 of 40 images" in html
    assert signal.getsignal(signal.SIGINT) == before


def test_a_second_network_sees_the_same_images(weights, photos, tmp_path):
    other = saved(tmp_path / "other.safetensors", "se_resnet20_cifar")
    words = ("--data", photos, "--ablate", 0, "--out", "o")
    senet("explain", weights, "--beside", other, *words)
    html = (photos.parent / "o" / "explain.html").read_text()
    assert "Beside " in html
    assert "What the gates are worth" not in html
    assert len((photos.parent / "o" / "beside.csv").read_text().splitlines()) == 1 + 9


def test_a_plain_twin_is_compared_by_its_answers(weights, photos, tmp_path):
    plain = saved(tmp_path / "plain.safetensors", "resnet8_cifar")
    words = ("--data", photos, "--ablate", 0, "--out", "o")
    senet("explain", weights, "--beside", plain, *words)
    folder = photos.parent / "o"
    html = (folder / "explain.html").read_text()
    assert "has no SE block, so the questions about gates are not asked of it" in html
    assert "of 40 images rightly" in html
    assert not (folder / "beside.csv").exists()
    with (folder / "gains.csv").open() as file:
        everything, *classes = csv.DictReader(file)
    assert (everything["class"], everything["images"]) == ("", "40")
    assert sorted(row["class"] for row in classes) == ["cat", "dog"]
    with (folder / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["image"] for row in rows)[:2] == ["cat/0.png", "cat/1.png"]
    right = sum(row["class"] == row["answer"] for row in rows) / 40
    assert float(everything["accuracy"]) == pytest.approx(right)


def test_a_plain_network_that_does_not_know_the_classes_is_refused(photos):
    words = ("--data", photos, "--out", "o")
    result = senet("explain", "se_resnet8_cifar", "--beside", "resnet8_cifar", *words, code=1)
    assert "no SE block, so only its answers can be compared" in said(result)


@pytest.mark.slow
def test_processes_of_torchrun_share_the_images(weights, photos, tmp_path):
    """The page of two processes has the numbers of one; the examples are all of the 40 images."""
    other = saved(tmp_path / "plain.safetensors", "resnet8_cifar")
    image = photos / "cat" / "0.png"
    words = ["explain", weights, "--data", photos, "--image", image, "--beside", other]
    senet(*words, "--out", tmp_path / "one")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [str(word) for word in (*run, "-m", "senet", *words, "--out", tmp_path / "two")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("explain.html") == 1
    tables = {path.name for path in (tmp_path / "one").glob("*.csv")}
    assert tables == {path.name for path in (tmp_path / "two").glob("*.csv")}
    # Where channels are named by their rank, rounding may exchange two of them.
    for name in ("blocks", "gates", "histogram", "ablation", "gains", "answers"):
        one, two = (cells(tmp_path / folder / f"{name}.csv") for folder in ("one", "two"))
        assert len(one) == len(two), name
        for a, b in zip(one, two, strict=True):
            same = a == b if isinstance(a, str) else a == pytest.approx(b, rel=1e-3, abs=1e-5)
            assert same, (name, a, b)


def cells(path):
    """Return what a table holds, numbers as such."""
    with path.open() as file:
        return [number(word) for row in csv.reader(file) for word in row]


def number(word):
    try:
        return float(word)
    except ValueError:
        return word


def test_gates_are_replaced_on_some_of_the_images(weights, photos):
    senet("explain", weights, "--data", photos, "--ablate", 10, "--out", "o")
    html = (photos.parent / "o" / "explain.html").read_text()
    assert "on the same 10 images" in html
    assert "10 are a random sample of the 40 images" in html
    assert len((photos.parent / "o" / "ablation.csv").read_text().splitlines()) == 1 + 3 * 4


def test_an_interruption_before_the_images_is_told(weights, photos, monkeypatch):
    def interrupting(batches, total, what, unit):
        for batch in batches:
            if what == "replacing gates":
                signal.raise_signal(signal.SIGINT)
            yield batch

    monkeypatch.setattr("senet.cli.explain.watched", interrupting)
    image = photos / "cat" / "0.png"
    senet("explain", weights, "--data", photos, "--image", image, "--out", "o")
    html = (photos.parent / "o" / "explain.html").read_text()
    assert "still to come" in html
    assert "on the same 16 images" in html
    assert "interrupted after" not in html


@pytest.fixture
def timm(world, monkeypatch):
    """The real timm, without the web: its weights are new ones."""
    make = world.timm.create_model
    asked = []

    def create(name, pretrained=False):
        asked.append((name, pretrained))
        return make(name)

    monkeypatch.setitem(sys.modules, "timm", world.timm)
    monkeypatch.setattr(world.timm, "create_model", create)
    return asked


def explained(photos, name, *words):
    senet("explain", name, "--data", photos, "--limit", 4, "--ablate", 4, "--out", "o", *words)
    return (photos.parent / "o" / "explain.html").read_text()


OWN_ANSWERS = "its own answers"


@pytest.mark.parametrize("tag", ["", ".in1k"])
def test_a_network_of_timm_has_its_weights_and_sees_images_of_any_classes(photos, timm, tag):
    name = f"timm:tf_mobilenetv3_small_100{tag}"
    html = explained(photos, name, "--image", photos / "cat" / "0.png")
    assert timm == [(name.removeprefix("timm:"), True)]
    assert "weights of this network are random" not in html
    assert "4 images of 2 classes" in html
    assert OWN_ANSWERS in html
    assert any(name in html for name in class_names())  # what it says of the image


@pytest.mark.parametrize("names", [("tench", "goldfish"), ("n01440764", "n01443537")])
def test_classes_of_imagenet_are_known_to_a_network_of_timm(photos, timm, names):
    for own, name in zip(("cat", "dog"), names, strict=True):
        (photos / own).rename(photos / name)
    html = explained(photos, "timm:tf_mobilenetv3_small_100")
    assert OWN_ANSWERS not in html
    assert "4 images of 2 classes" in html


def test_a_network_that_timm_has_no_weights_of_is_random(photos, timm):
    html = explained(photos, "timm:seresnet18")
    assert timm == [("seresnet18", False)]
    assert "The weights of this network are random" in html


def test_weights_that_cannot_be_fetched_are_one_message_with_what_to_do(photos, world, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no route to host")

    monkeypatch.setitem(sys.modules, "timm", world.timm)
    monkeypatch.setattr(world.timm, "create_model", fail)
    text = said(senet("explain", "timm:seresnet50", "--data", photos, "--out", "o", code=1))
    assert "timm cannot load its weights of seresnet50 (no route to host). Get online" in text
    assert "random weights: one of `senet models`" in text
    assert "name a folder of class folders" in said(senet("explain", "timm:seresnet50", code=1))
    assert "Did you mean" in said(senet("explain", "timm:seresnet5", "--data", photos, code=1))


def test_what_is_no_library_is_looked_for_among_weights(photos):
    """An address has a colon, too, and `timm:NAME.TAG` is a set of weights."""
    address = "http://127.0.0.1:9/se_resnet8_cifar.safetensors"
    words = ("--data", photos, "--out", "o")
    assert "cannot be reached" in said(senet("explain", address, *words, code=1))
    assert "foo:bar" in said(senet("explain", "foo:bar", *words, code=1))
