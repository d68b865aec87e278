"""Repositories of the Hugging Face hub, served by this machine: the real hub is never asked."""

import errno
import json
import time
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import torch
from huggingface_hub import constants

from senet.models import create_model
from senet.models.weights.file import load_model, read_state
from senet.models.weights.find import find_weights
from senet.models.weights.hub import push_to_hub, save_pretrained
from senet.models.weights.pretrained import from_pretrained
from senet.preprocessing import CIFAR, Preprocessing
from tests.models.test_world import scramble

COMMIT = "a" * 40


class Hub:
    """The answers of the hub, as far as downloads need them."""

    def __init__(self, web) -> None:
        self.web = web
        web.headers_of_404 = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}

    def publish(self, repository: str, revision: str = "main", **files: bytes) -> None:
        for name, data in files.items():
            path = f"/{repository}/resolve/{revision}/{name.replace('__', '.')}"
            self.web.files[path] = data
            self.web.headers[path] = {"ETag": f'"{hash(data):x}"', "X-Repo-Commit": COMMIT}

    def publish_timm(self, repository: str, model, folder: Path) -> None:
        """Publish ``model`` as timm itself writes repositories."""
        from timm.models._hub import save_for_hf

        save_for_hf(model, folder, safe_serialization=True)
        self.publish_folder(repository, folder)

    def publish_folder(self, repository: str, folder: Path) -> None:
        for file in folder.iterdir():
            self.publish(repository, **{file.name.replace(".", "__"): file.read_bytes()})

    def asked(self) -> list[str]:
        return [path for _, path, _ in self.web.asked if "/resolve/" in path]


@pytest.fixture
def hub(web, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", web.url)
    template = web.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    return Hub(web)


@pytest.fixture
def theirs(world):
    return scramble(world.timm.create_model("tf_mobilenetv3_small_100", num_classes=5)).eval()


def agree(ours, theirs, size: int = 64) -> None:
    x = torch.randn(2, 3, size, size)
    torch.testing.assert_close(ours.eval()(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_a_network_of_timm_gives_timms_answers(hub, theirs, tmp_path):
    hub.publish_timm("timm/tf_mobilenetv3_small_100.x", theirs, tmp_path / "theirs")
    ours = create_model("mobilenet_v3_small", weights="timm/tf_mobilenetv3_small_100.x")
    agree(ours, theirs)
    assert ours.architecture.num_classes == 5
    # The options that the network needs came with its name, the preprocessing with the weights.
    assert ours.architecture.options == {"padding": "same", "eps": 1e-3}
    assert ours.preprocessing == Preprocessing(
        224, mean=(0.5,) * 3, std=(0.5,) * 3, crop=0.875, interpolation="bilinear"
    )


def test_options_of_the_weights_and_of_the_user_come_together(hub, world, tmp_path):
    theirs = world.timm.create_model("legacy_seresnet50", layers=[1, 1, 1, 1], num_classes=2)
    hub.publish_timm("me/short", scramble(theirs.eval()), tmp_path / "theirs")
    agree(create_model("se_resnet50", weights="me/short", layers=(1, 1, 1, 1)), theirs)
    network = create_model(
        "se_resnet50", weights="me/short", layers=(1, 1, 1, 1), stem_pool="padded"
    )
    assert network.architecture.options["stem_pool"] == "padded"  # what the user says comes first
    assert network.architecture.options["stride_on"] == "1x1"


def test_the_repository_says_which_network_it_is(hub, theirs, tmp_path):
    hub.publish_timm("me/mine", theirs, tmp_path / "theirs")
    network = from_pretrained("hf-hub:me/mine")
    agree(network, theirs)
    assert not network.training
    agree(from_pretrained(tmp_path / "theirs"), theirs)  # and so does its folder


def test_a_network_that_only_has_the_tensors_of_ours_is_told_apart(hub, world, tmp_path):
    """This one blurs where it halves its maps."""
    theirs = world.timm.create_model("resnetblur18", layers=[1, 1, 1, 1], num_classes=2)
    hub.publish_timm("me/short", theirs, tmp_path / "theirs")
    with pytest.warns(UserWarning, match="me/short is for resnetblur18. Its tensors fit resnet18"):
        create_model("resnet18", weights="me/short", layers=(1, 1, 1, 1))


def test_a_revision(hub):
    model = create_model("resnet8_cifar")
    state = safetensors.torch.save(model.state_dict())
    hub.publish("me/old", revision="v1", model__safetensors=state)
    weights = find_weights("me/old@v1")
    assert torch.equal(read_state(weights.file)["fc.bias"], model.fc.bias)
    assert weights.record is None


def test_weights_of_torch_save(hub, tmp_path):
    model = create_model("resnet8_cifar")
    torch.save(model.state_dict(), tmp_path / "x.bin")
    hub.publish("me/bin", pytorch_model__bin=(tmp_path / "x.bin").read_bytes())
    network = create_model("resnet8_cifar", weights="me/bin")
    assert torch.equal(network.fc.weight, model.fc.weight)
    assert network.preprocessing == CIFAR


def test_offline_with_what_is_in_the_cache(hub, theirs, tmp_path, monkeypatch):
    hub.publish_timm("me/mine", theirs, tmp_path / "theirs")
    first = from_pretrained("me/mine")
    asked = len(hub.web.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = from_pretrained("me/mine")
    assert again.preprocessing == first.preprocessing
    assert len(hub.web.asked) == asked


def test_offline_where_the_cache_knows_that_there_is_no_such_file(hub, tmp_path, monkeypatch):
    torch.save(create_model("resnet8_cifar").state_dict(), tmp_path / "x.bin")
    hub.publish("me/bin", pytorch_model__bin=(tmp_path / "x.bin").read_bytes())
    find_weights("me/bin")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_weights("me/bin").file.name == "pytorch_model.bin"


def test_offline_without(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"cannot be reached .*'me/mine' is not .*Get online"):
        create_model("se_resnet18", weights="me/mine")


def test_a_hub_out_of_reach_is_found_out_at_once(hub, monkeypatch, capfd):
    """The hub's library would try again for half a minute, and print each try."""
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    begun = time.monotonic()
    with pytest.raises(ValueError, match=r"cannot be reached .*'me/mine' is not .*Get online"):
        find_weights("me/mine")
    assert time.monotonic() - begun < 10
    assert "etry" not in capfd.readouterr().err
    assert not constants.HF_HUB_OFFLINE


def test_a_disk_that_is_full_is_no_fault_of_the_hub(hub, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(OSError, match="No space left"):
        find_weights("me/mine")


def test_a_repository_that_is_not_there(hub):
    hub.web.headers_of_404 = {"X-Error-Code": "RepoNotFound"}
    with pytest.raises(ValueError, match=r"no repository 'runs/photo' .*no such file or folder"):
        create_model("se_resnet18", weights="runs/photo")


def test_a_repository_without_weights(hub):
    hub.publish("me/data", config__json=b"{}")
    with pytest.raises(ValueError, match=r"'me/data' holds none of model\.safetensors, pytorch_"):
        find_weights("me/data")


def test_a_configuration_that_is_damaged(hub):
    state = safetensors.torch.save(create_model("resnet8_cifar").state_dict())
    hub.publish("me/mine", model__safetensors=state, config__json=b"{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        find_weights("me/mine")


def test_a_network_that_is_not_ours(hub, world, tmp_path):
    hub.publish_timm("timm/x", world.timm.create_model("resnet10t"), tmp_path / "theirs")
    with pytest.raises(ValueError, match=r"no network 'resnet10t'\. Did you mean"):
        from_pretrained("timm/x")


# --- ours -----------------------------------------------------------------------------------------

GREY = Preprocessing(28, mean=(0.3,), std=(0.2,), crop=0.9)


@pytest.fixture
def trained():
    model = scramble(
        create_model(
            "se_resnet8_cifar", num_classes=3, in_channels=1, widths=(4, 4, 8), reduction=2
        )
    )
    model.preprocessing, model.classes = GREY, ("cat", "dog", "emu | ostrich")
    return model.eval()


def same(ours, other) -> None:
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(ours(x), other(x))
    assert ours.architecture == other.architecture
    assert (ours.preprocessing, ours.classes) == (other.preprocessing, other.classes)


def test_a_folder_comes_back(trained, tmp_path):
    save_pretrained(trained, tmp_path / "made", {"test_accuracy": 0.912345})
    same(from_pretrained(tmp_path / "made"), trained)
    network, record = load_model(tmp_path / "made" / "model.safetensors")
    same(network, trained)
    assert record.metrics == {"test_accuracy": 0.912345}
    config = json.loads((tmp_path / "made" / "config.json").read_text())
    assert config["architecture"]["options"] == {"widths": [4, 4, 8], "reduction": 2}


def test_the_card_says_everything_that_is_known(trained, tmp_path):
    save_pretrained(trained, tmp_path, {"test_accuracy": 0.912345})
    text = (tmp_path / "README.md").read_text()
    parameters = sum(p.numel() for p in trained.parameters())
    assert text.startswith("---\nlibrary_name: senet\npipeline_tag: image-classification\n")
    for row in (
        "| architecture | `se_resnet8_cifar`, with `widths=(4, 4, 8)`, `reduction=2` |",
        f"| parameters | {parameters:,}, of which",
        "| input | 1 × 28 × 28 |",
        "| resizing | bilinear, the crop keeps 0.9 |",
        "| mean | 0.3 |",
        r"| classes | 3: cat, dog, emu \| ostrich |",
        "| test_accuracy | 0.9123 |",
    ):
        assert row in text


def test_the_snippet_of_the_card_runs(trained, tmp_path):
    save_pretrained(trained, tmp_path)
    text = (tmp_path / "README.md").read_text()
    snippet = text.split("```python\n")[1].split("```")[0].replace("OWNER/NAME", str(tmp_path))
    names: dict = {}
    exec(snippet, names)
    assert names["probabilities"].shape == (1, 3)
    assert names["probabilities"].sum().item() == pytest.approx(1)


def test_classes_without_names_are_numbered(tmp_path):
    save_pretrained(create_model("resnet8_cifar", num_classes=3), tmp_path)
    assert from_pretrained(tmp_path).classes == ("0", "1", "2")


def test_what_was_pushed_comes_back(hub, trained, monkeypatch):
    """The hub's side of an upload is not ours to test: here it takes the folder and serves it."""
    calls = []

    def create_repo(api, repo_id, *, private, exist_ok):
        calls.append((repo_id, private, exist_ok))
        return huggingface_hub.RepoUrl(f"{hub.web.url}/{repo_id}", endpoint=hub.web.url)

    def upload_folder(api, *, repo_id, folder_path, commit_message):
        hub.publish_folder(repo_id, Path(folder_path))
        return huggingface_hub.CommitInfo(
            commit_url=f"{hub.web.url}/{repo_id}/commit/{COMMIT}",
            commit_message=commit_message,
            commit_description="",
            oid=COMMIT,
        )

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    address = push_to_hub(trained, "me/grey", {"test_accuracy": 0.9}, private=True)
    assert address == f"{hub.web.url}/me/grey/commit/{COMMIT}"
    assert calls == [("me/grey", True, True)]
    same(from_pretrained("me/grey"), trained)
    card = hub.web.files["/me/grey/resolve/main/README.md"].decode()
    assert 'from_pretrained("me/grey")' in card


def test_a_push_without_a_hub(hub, trained, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"hub cannot be reached"):
        push_to_hub(trained, "me/grey")


def test_a_push_that_is_refused_says_how_to_log_in(hub, trained):
    with pytest.raises(ValueError, match=r"'me/grey'.*hf auth login"):
        push_to_hub(trained, "me/grey")
