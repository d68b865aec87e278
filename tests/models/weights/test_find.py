"""From words to weights, and networks that begin with them."""

import hashlib
import warnings

import pytest
import torch

from senet.models import create_model, entry
from senet.models.weights import published
from senet.models.weights.download import cached
from senet.models.weights.file import save_model
from senet.models.weights.find import find_weights
from senet.models.weights.pretrained import from_pretrained
from senet.models.weights.published import Published
from senet.models.weights.record import Record
from senet.preprocessing import Preprocessing
from tests.models.test_world import scramble


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("SENET_HOME", str(tmp_path / "home"))


@pytest.fixture
def model():
    return scramble(create_model("se_resnet8_cifar")).eval()


def same(a, b) -> bool:
    x = torch.randn(2, 3, 16, 16)
    return torch.equal(a.eval()(x), b.eval()(x))


# --- what can be named ----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["pth", "pt", "th", "pkl"])
@pytest.mark.parametrize("as_zip", [True, False])
def test_a_state_dict_in_a_file(model, tmp_path, ending, as_zip):
    file = tmp_path / f"weights.{ending}"
    torch.save(model.state_dict(), file, _use_new_zipfile_serialization=as_zip)
    ours = create_model("se_resnet8_cifar", weights=file)
    assert ours.training
    assert same(ours, model)
    assert ours.preprocessing == entry("se_resnet8_cifar").preprocessing


def test_a_file_or_folder_of_senet_train(tmp_path):
    model = create_model("se_resnet8_cifar", num_classes=2, in_channels=1, reduction=4)
    grey = Preprocessing(28, mean=(0.3,), std=(0.2,))
    record = Record(model.architecture, grey, ("cat", "dog"), {"test_accuracy": 0.5})
    save_model(tmp_path / "model.safetensors", model, record)
    for word in (tmp_path, tmp_path / "model.safetensors"):
        assert find_weights(word).record == record
        # Its options, classes and preprocessing come with it.
        for network in (from_pretrained(word), create_model("se_resnet8_cifar", weights=word)):
            assert network.architecture == model.architecture
            assert (network.preprocessing, network.classes) == (grey, ("cat", "dog"))
            assert torch.equal(network.fc.weight, model.fc.weight)


def test_a_url(web, model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "x.pth")
    data = (tmp_path / "x.pth").read_bytes()
    path = f"/net-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    web.files[path] = data
    assert same(create_model("se_resnet8_cifar", weights=web.url + path), model)
    assert same(create_model("se_resnet8_cifar", weights=web.url + path), model)
    assert len(web.asked) == 1


def test_a_url_whose_file_is_another(web):
    web.files["/net-0123abcd.pth"] = b"something else"
    with pytest.raises(ValueError, match=r"refused, and not kept: .* not with 0123abcd"):
        create_model("se_resnet8_cifar", weights=f"{web.url}/net-0123abcd.pth")
    assert not cached(f"{web.url}/net-0123abcd.pth").exists()


@pytest.fixture
def made_known(web, monkeypatch, tmp_path):
    """A set of the table: an SE-ResNet-8 without biases in SE, for images of its own kind."""
    model = scramble(create_model("se_resnet8_cifar", num_classes=7, se_bias=False))
    torch.save(model.state_dict(), tmp_path / "x.pth")
    data = (tmp_path / "x.pth").read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    web.files[f"/net-{sha256[:8]}.pth"] = web.files["/other.pth"] = data
    preprocessing = Preprocessing(40, mean=(0.1,) * 3, std=(0.2,) * 3, crop=0.8)
    record = Record(model.architecture, preprocessing, metrics={"top1": 0.9})
    sets = {
        "se_resnet8_cifar.mine": Published(
            "se_resnet8_cifar.mine", f"{web.url}/net-{sha256[:8]}.pth", record, "mit", "here"
        ),
        "se_resnet8_cifar.checked": Published(
            "se_resnet8_cifar.checked", f"{web.url}/other.pth", record, "mit", "", "", sha256
        ),
    }
    monkeypatch.setattr(published, "_table", lambda: sets)
    return model


def test_a_published_set(made_known):
    for word in ("mine", "se_resnet8_cifar.mine", "checked"):
        network = create_model("se_resnet8_cifar", weights=word)
        assert network.architecture == made_known.architecture
        assert network.preprocessing.size == 40
        assert same(network, made_known)
    assert from_pretrained("se_resnet8_cifar.mine").architecture == made_known.architecture


def test_a_published_set_is_checked_by_the_table(made_known, web):
    web.files["/other.pth"] += b"?"
    with pytest.raises(ValueError, match="refused, and not kept"):
        create_model("se_resnet8_cifar", weights="checked")


def test_the_file_of_a_published_set_is_known_wherever_it_lies(made_known, web, tmp_path):
    ((name, data),) = [(n, d) for n, d in web.files.items() if "net-" in n]
    (tmp_path / name[1:]).write_bytes(data)
    for word in (tmp_path / name[1:], web.url + name):
        network = create_model("se_resnet8_cifar", weights=word)
        assert network.preprocessing.size == 40
        assert network.architecture.options == {"se_bias": False}


def test_options_that_are_said_come_before_those_of_the_set(made_known):
    with pytest.raises(ValueError, match=r"missing: layer1\.0\.se\.fc1\.bias"):
        create_model("se_resnet8_cifar", weights="mine", se_bias=True)


# --- what cannot ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "error", "message"),
    [
        ("gone.pth", FileNotFoundError, "there is no file gone.pth"),
        ("some/where/model.safetensors", FileNotFoundError, "there is no file some/where/model"),
        ("timm_a1_in1", ValueError, "no weights 'timm_a1_in1'. Did you mean timm_a1_in1k"),
        ("imagenet", ValueError, "published for se_resnet50: moskomule_in1k, timm_a1_in1k"),
        ("se_resnet18.timm_a1_in1k", ValueError, "Did you mean .*resnet50.timm_a1_in1k"),
    ],
)
def test_unknown_words(word, error, message):
    with pytest.raises(error, match=message):
        create_model("se_resnet50", weights=word)


def test_an_unknown_network_is_found_out_before_anything_is_downloaded(web):
    with pytest.raises(ValueError, match="no network 'se_resnet500'"):
        create_model("se_resnet500", weights=f"{web.url}/x.pth")
    assert web.asked == []


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds none of model\.safetensors"):
        create_model("se_resnet50", weights=tmp_path)


def test_files_that_are_damaged_or_run_code(model, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    torch.save(model.state_dict(), tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:-500])
    (tmp_path / "rubbish.safetensors").write_bytes(b"rubbish" * 9)
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "words.pth").write_text("no weights")
    why = dict.fromkeys(("cut.pth", "cat.jpg", "words.pth"), "it is damaged, not what")
    for file, reason in {"evil.pth": r"beside tensors it holds \w+\.open", **why}.items():
        with pytest.raises(ValueError, match=f"{file} was refused: {reason}") as refused:
            create_model("se_resnet8_cifar", weights=tmp_path / file)
        assert "weights_only" not in str(refused.value)  # torch says to switch it off
    assert not (tmp_path / "owned").exists()
    with pytest.raises(
        ValueError, match=r"rubbish\.safetensors is not a model file, or is damaged"
    ):
        create_model("se_resnet8_cifar", weights=tmp_path / "rubbish.safetensors")


def test_weights_that_do_not_say_of_which_network_they_are(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"name it, as in create_model\(NAME, weights="):
        from_pretrained(tmp_path / "x.pth")


# --- how they are fitted in -----------------------------------------------------------------------


@pytest.fixture
def file(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "x.pth")
    return tmp_path / "x.pth"


def test_the_classes_are_those_of_the_weights(tmp_path):
    torch.save(create_model("resnet8_cifar", num_classes=4).state_dict(), tmp_path / "x.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = create_model("resnet8_cifar", weights=tmp_path / "x.pth")
    assert network.architecture.num_classes == 4


def test_other_classes_get_a_new_classifier_and_a_warning(model, file):
    with pytest.warns(UserWarning, match="has 10 classes, and 3 are wanted") as seen:
        network = create_model("se_resnet8_cifar", weights=file, num_classes=3)
    assert [w.filename for w in seen] == [__file__]
    assert network.fc.out_features == 3
    assert torch.equal(network.conv1.weight, model.conv1.weight)


def test_weights_without_a_classifier(model, tmp_path):
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}
    torch.save(state, tmp_path / "body.pth")
    with pytest.warns(UserWarning, match="has no classifier, and 10 are wanted"):
        network = create_model("se_resnet8_cifar", weights=tmp_path / "body.pth")
    assert torch.equal(network.conv1.weight, model.conv1.weight)


def test_a_backbone_has_no_use_for_a_classifier(model, tmp_path):
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}
    torch.save(state, tmp_path / "body.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone = create_model(
            "se_resnet8_cifar", weights=tmp_path / "body.pth", features=(1, 2, 3)
        )
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(backbone.eval()(x)[-1], model.forward_features(x))


def test_other_channels_do_not_fit(file):
    with pytest.raises(ValueError, match=r"conv1.weight \(16, 3, 3, 3\), wanted \(16, 4, 3, 3\)"):
        create_model("se_resnet8_cifar", weights=file, in_channels=4)


@pytest.mark.parametrize(
    ("made", "asked", "hint"),
    [
        (("se_resnet18", {}), ("resnet18", {}), "They would fit se_resnet18."),
        (
            ("se_resnet18", {"se_bias": False}),
            ("se_resnet18", {"se_bias": True}),
            "They would fit se_resnet18 with se_bias=False.",
        ),
        (
            ("se_resnet20_cifar", {"shortcut": "projection", "se_bias": False}),
            ("se_resnet20_cifar", {"shortcut": "pad"}),
            "They would fit se_resnet20_cifar with shortcut='projection', se_bias=False.",
        ),
        (
            ("resnet20_cifar", {"widths": (16, 32, 60)}),
            ("resnet18", {}),
            r"They are most like resnet20_cifar: \d\d% are the same.",
        ),
        (("densenet121", {}), ("se_resnet18", {}), "They would fit densenet121."),
    ],
)
def test_an_error_says_what_they_would_fit(tmp_path, made, asked, hint):
    torch.save(create_model(made[0], **made[1]).state_dict(), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=f"does not fit {asked[0]}:(.|\n)*{hint}"):
        create_model(asked[0], weights=tmp_path / "x.pth", **asked[1])


def test_the_error_does_not_move_the_random_numbers(file):
    torch.manual_seed(1)
    create_model("resnet18", num_classes=10, stem="cifar", shortcut="pad")  # as the file is
    wanted = torch.rand(1)
    torch.manual_seed(1)
    with pytest.raises(ValueError, match="does not fit"):
        create_model("resnet18", weights=file)
    assert torch.equal(torch.rand(1), wanted)


# --- other people's files -------------------------------------------------------------------------


def as_moskomule(state):
    """SE as in github.com/moskomule/senet.pytorch: linear layers without bias in a Sequential."""
    names = {".se.fc1.": ".se.fc.0.", ".se.fc2.": ".se.fc.2."}
    made = {}
    for name, value in state.items():
        for ours, theirs in names.items():
            if ours in name:
                name, value = name.replace(ours, theirs), value[:, :, 0, 0]
        made[name] = value
    return made


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("se_resnet50", {"se_bias": False, "layers": (1, 1, 1, 1)}),
        ("se_resnet20_cifar", {"se_bias": False, "shortcut": "projection"}),
        ("se_resnet20_cifar", {"se_bias": False, "shortcut": "projection", "reduction": 4}),
    ],
)
def test_files_of_moskomule(tmp_path, name, options):
    model = scramble(create_model(name, **options))
    torch.save(as_moskomule(model.state_dict()), tmp_path / "x.pkl")
    assert any(".se.fc.0.weight" in k for k in torch.load(tmp_path / "x.pkl"))
    loaded = create_model(name, weights=tmp_path / "x.pkl", **options)
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_the_published_file_of_akamaster(development_data):
    network = create_model(
        "resnet20_cifar", weights=development_data / "weights" / "resnet20-12fca82f.th"
    )
    assert network.architecture.num_classes == 10
    assert network.preprocessing.mean == (0.485, 0.456, 0.406)  # not the usual ones of CIFAR
