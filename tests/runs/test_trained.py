"""Networks that can be used: runs, files, and weights that others have published."""

import pytest
import torch

from senet.models import create_model
from senet.models.weights import pretrained
from senet.models.weights.file import save_model
from senet.models.weights.imagenet import class_names, wordnet_ids
from senet.models.weights.record import Record
from senet.runs import trained
from senet.runs.find import find_trained
from senet.runs.trained import open_body, open_trained


@pytest.fixture
def model():
    return create_model("se_resnet8_cifar", num_classes=3).eval()


@pytest.fixture
def bare(model, tmp_path):
    torch.save({"net": model.state_dict()}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


@pytest.fixture
def x():
    return torch.randn(2, 3, 32, 32)


def test_a_model_file_is_opened_with_its_classes(model, x, tmp_path):
    model.classes = ("a", "b", "c")
    save_model(tmp_path / "model.safetensors", model, Record.of(model))
    for word in tmp_path, tmp_path / "model.safetensors":
        found = open_trained(word)
        assert found.record.classes == ("a", "b", "c")
        torch.testing.assert_close(found.network(x), model(x))


def test_what_is_no_weights_is_not_asked_for_the_name_of_its_network(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match="cat.jpg was refused: it is damaged, not what"):
        open_trained(tmp_path / "cat.jpg")


@pytest.mark.filterwarnings("ignore:.*does not say how")
def test_weights_that_do_not_name_their_network_need_its_name(model, bare, x):
    with pytest.raises(ValueError, match="does not say of which network they are: add --model"):
        open_trained(bare)
    found = open_trained(bare, "se_resnet8_cifar")
    assert found.record.classes == ("0", "1", "2")
    assert not found.network.training
    torch.testing.assert_close(found.network(x), model(x))


def test_a_guess_of_the_normalisation_is_said(bare):
    with pytest.warns(UserWarning, match="does not say how its images were normalized"):
        open_trained(bare, "se_resnet8_cifar")


def test_weights_without_a_classifier_tell_nothing_apart(model, tmp_path):
    body = {k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}
    torch.save(body, tmp_path / "body.pth")
    with pytest.raises(ValueError, match="has no classifier.*senet train --model"):
        open_trained(tmp_path / "body.pth", "se_resnet8_cifar")


@pytest.mark.filterwarnings("ignore:.*does not say how")
def test_a_thousand_classes_without_names_are_imagenets(tmp_path):
    torch.save(create_model("se_resnet8_cifar", num_classes=1000).state_dict(), tmp_path / "w.pth")
    classes = open_trained(tmp_path / "w.pth", "se_resnet8_cifar").record.classes
    assert classes[0] == "tench"
    assert len(set(classes)) == len(set(wordnet_ids())) == 1000
    assert list(wordnet_ids()) == sorted(wordnet_ids())


def test_a_network_of_timm_is_asked_of_timm(world, monkeypatch):
    make = world.timm.create_model
    asked = []

    def create(name, pretrained):
        asked.append((name, pretrained))
        return make(name)

    monkeypatch.setattr(world.timm, "create_model", create)
    found = open_trained("timm:tf_mobilenetv3_small_100")
    assert asked == [("tf_mobilenetv3_small_100", True)]
    assert found.record.preprocessing.mean == (0.5, 0.5, 0.5)
    assert found.record.classes == class_names()
    assert found.file is None
    with pytest.raises(ValueError, match="timm has no network 'seresnet5'"):
        open_trained("timm:seresnet5")


def test_a_network_of_which_timm_has_no_weights_is_not_looked_for_online(world):
    with pytest.raises(ValueError, match=r"no trained weights of seresnet18\. Did you mean"):
        open_trained("timm:seresnet18")


def test_timm_that_cannot_reach_its_weights_is_one_message(world, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no route to host\nmore")

    monkeypatch.setattr(world.timm, "create_model", fail)
    with pytest.raises(ValueError, match=r"cannot load its weights of resnet18 \(no route to host\)"):
        open_trained("timm:resnet18")


@pytest.mark.parametrize(
    "word",
    [
        "se_resnet50.timm_a1_in1k",
        "timm/seresnet50.a1_in1k",
        "hf-hub:timm/seresnet50.a1_in1k@main",
        "https://example.org/w.pth",
        "timm:seresnet50",
    ],
)
def test_names_of_weights_elsewhere_stay_as_they_are(word):
    assert find_trained(word) == word


def test_a_set_may_be_named_with_its_network_apart():
    assert find_trained("timm_a1_in1k", "se_resnet50") == "timm_a1_in1k"


def test_what_is_here_is_no_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for word in "mine/photo", "runs/photo", "./a/b":
        with pytest.raises(FileNotFoundError, match="there is no run folder or model file"):
            find_trained(word)
    with pytest.raises(FileNotFoundError, match=r"nor such weights. Did you mean se_resnet50\.timm"):
        find_trained("se_resnet50.timm_a1_ink")


def test_foreign_weights_are_read_once(bare, monkeypatch):
    read = []
    original = trained.read_state

    def counted(path):
        read.append(path)
        return original(path)

    for module in trained, pretrained:
        monkeypatch.setattr(module, "read_state", counted)
    open_trained(bare, "se_resnet8_cifar")
    assert read == [bare]


def test_a_guess_names_itself_and_the_option(bare):
    with pytest.warns(UserWarning, match=r"guessed is mean=0\.4914.*add --preprocessing mean="):
        open_trained(bare, "se_resnet8_cifar")


def test_what_the_user_says_takes_the_place_of_the_guess(bare, recwarn):
    asked = "mean=0.5,std=0.25,size=40"
    for opened in (open_trained, open_body):
        p = opened(bare, "se_resnet8_cifar", asked).record.preprocessing
        assert (p.mean, p.std, p.size) == ((0.5,) * 3, (0.25,) * 3, 40)
    assert not [w for w in recwarn if "guessed" in str(w.message)]
    with pytest.raises(ValueError, match="mean has 2 values"):
        open_trained(bare, "se_resnet8_cifar", "mean=0.5,0.5,std=0.25")


def test_what_is_recorded_cannot_be_contradicted(model, tmp_path):
    model.classes = ("a", "b", "c")
    save_model(tmp_path / "model.safetensors", model, Record.of(model))
    with pytest.raises(ValueError, match=r"records how its images are taken \(mean=0\.4914.*leave"):
        open_trained(tmp_path, preprocessing="mean=0.5,std=0.5")
    p = model.preprocessing
    mean, std = (",".join(map(str, values)) for values in (p.mean, p.std))
    assert open_trained(tmp_path, preprocessing=f"mean={mean},std={std}").record.classes[0] == "a"


def test_timm_says_how_its_networks_take_images(world, bare):
    asked = "timm:tf_mobilenetv3_small_100"
    p = open_trained(bare, "se_resnet8_cifar", asked).record.preprocessing
    assert (p.mean, p.std, p.size, p.crop) == ((0.5,) * 3, (0.5,) * 3, 224, 0.875)
    assert p.interpolation == "bilinear"
    with pytest.raises(ValueError, match="timm has no network 'seresnet5'"):
        open_trained(bare, "se_resnet8_cifar", "timm:seresnet5")
