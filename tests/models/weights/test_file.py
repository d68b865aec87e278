import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from senet.models import create_model, entry
from senet.models.weights.file import (
    find_record,
    load_model,
    load_state,
    read_record,
    read_state,
    save_model,
)
from senet.models.weights.record import Record


@pytest.fixture
def model():
    return create_model("se_resnet8_cifar", num_classes=3, in_channels=1, widths=(16, 32, 64))


@pytest.fixture
def saved(model, tmp_path):
    record = Record(
        model.architecture,
        entry("se_resnet8_cifar").preprocessing,
        ("cat", "dog", "emu"),
        {"test_accuracy": 0.5},
    )
    path = tmp_path / "model.safetensors"
    save_model(path, model, record)
    return path, record


def test_a_saved_model_comes_back(model, saved):
    path, record = saved
    again, read = load_model(path)
    assert read == record
    x = torch.randn(2, 1, 16, 16)
    assert torch.equal(again(x), model.eval()(x))
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


def test_a_failed_save_leaves_the_old_file(saved, model, monkeypatch):
    path, record = saved
    before = path.read_bytes()

    def full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(path, model, record)
    assert path.read_bytes() == before


def test_missing_damaged_and_foreign_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model file .*none.safetensors"):
        load_model(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"rubbish" * 10)
    with pytest.raises(ValueError, match="not a model file, or is damaged"):
        read_record(damaged)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"w": torch.zeros(1)}, foreign)
    with pytest.raises(ValueError, match="does not say of which network"):
        load_model(foreign)


def test_a_truncated_file_is_refused(saved):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged"):
        load_model(path)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(ValueError, match="could run code"):
        read_state(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
def test_state_dicts_are_found_inside_checkpoints(tmp_path, model, wrap):
    state = {f"module.{k}": v for k, v in model.state_dict().items()}
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "x.pth")
    assert load_state(model, read_state(tmp_path / "x.pth")) is False


def test_weights_of_another_network_name_the_keys_and_shapes(model):
    other = create_model("resnet20_cifar", num_classes=3, in_channels=3)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match="does not fit se_resnet8_cifar") as caught:
        load_state(model, other.state_dict(), "other.pth")
    message = str(caught.value)
    assert message.startswith("other.pth")
    assert "missing: layer1.0.se.fc1.weight" in message
    assert "not of this network: layer1.1.conv1.weight" in message
    assert "conv1.weight (16, 3, 3, 3), wanted (16, 1, 3, 3)" in message
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_another_class_count_is_an_error_unless_a_new_head_is_wanted(model):
    ten = create_model("se_resnet8_cifar", num_classes=10, in_channels=1)
    with pytest.raises(ValueError, match=r"fc.weight \(10, 64\), wanted \(3, 64\)") as caught:
        load_state(model, ten.state_dict())
    assert "would fit" not in str(caught.value)
    head = model.fc.weight.clone()
    assert load_state(model, ten.state_dict(), new_head=True) is True
    assert torch.equal(model.fc.weight, head)
    assert torch.equal(model.conv1.weight, ten.conv1.weight)


def test_a_record_of_a_later_version_is_not_misread(tmp_path, saved):
    _, record = saved
    fields = {**asdict(record), "classes": None}
    for said in (fields, {}, {**fields, "preprocessing": {"depth": 3}}):
        save_file({"w": torch.zeros(1)}, tmp_path / "x.safetensors", {"senet": json.dumps(said)})
        with pytest.raises(ValueError, match=r"does not understand .* it may be from a newer one"):
            find_record(tmp_path / "x.safetensors")


def test_a_network_says_of_itself_what_its_file_will(saved):
    path, record = saved
    network, _ = load_model(path)
    assert Record.of(network, {"test_accuracy": 0.5}) == record


def test_the_record_is_plain_json(saved):
    import safetensors

    with safetensors.safe_open(saved[0], "pt") as file:
        fields = json.loads(file.metadata()["senet"])
    assert fields["architecture"]["name"] == "se_resnet8_cifar"
