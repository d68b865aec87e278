"""From the words of a command to a configuration."""

import json
import re
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from senet.cli import app
from senet.training.config import TrainConfig
from senet.training.recipes import RECIPES
from tests.cli.command import senet


def test_the_recipe_holds_where_nothing_is_said(configured):
    config, folder, resume = configured()
    assert config == RECIPES["quick"]()
    assert re.fullmatch(rf"runs/{config.model}-fashion-mnist-\d{{8}}-\d{{6}}", str(folder))
    assert not resume


def test_every_setting_of_a_training_can_be_set(configured):
    config, *_ = configured(
        *("--set", "precision=32", "--set", "milestones=4", "--set", "schedule=step"),
        *("--set", "flip=false", "--set", "label-smoothing=0.1", "--set", "warmup=1"),
        *("--set", "limit=none", "--set", "reduction=8", "--set", "gate=tanh"),
        *("--epochs", "9", "--lr", "1", "--batch-size", "64", "--seed", "3", "--device", "cpu"),
    )
    assert (config.precision, config.milestones, config.schedule) == ("32", (4,), "step")
    assert (config.flip, config.label_smoothing, config.limit) == (False, 0.1, None)
    assert (config.options["reduction"], config.options["gate"]) == (8, "tanh")
    assert (config.epochs, config.lr, config.batch_size) == (9, 1, 64)
    assert (config.seed, config.device) == (3, "cpu")


def test_data_and_folder(configured):
    config, folder, _ = configured("--data", "some/My photos", "--model", "se_resnet18")
    assert config.data == "some/My photos"
    assert str(folder).startswith("runs/se_resnet18-My-photos-")
    assert configured("--out", "here")[1] == Path("here")


@pytest.mark.parametrize(
    "words",
    [
        *(["compare", "--out=PLACE"], ["compare", "--resume=PLACE"]),
        *(["train", "--out=PLACE"], ["train", "--resume=PLACE"]),
        *(["predict", "run", "a.jpg", "--out=PLACE"], ["fold", "run", "--out=PLACE"]),
        ["report", "run", "--data", "photos", "--out=PLACE"],
    ],
    ids=" ".join,
)
def test_the_home_folder_and_variables_are_known_to_every_option_that_is_a_path(words, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("WHERE", "/mnt")
    command = get_command(app).commands[words[0]]
    for place, path in (("~/x", "/home/me/x"), ("$WHERE/x", "/mnt/x")):
        given = [word.replace("PLACE", place) for word in words[1:]]
        assert Path(path) in command.make_context(words[0], given).params.values()


def test_the_home_folder_is_known_to_whatever_takes_a_run_or_data(configured, monkeypatch):
    monkeypatch.setenv("HOME", str(Path("home").resolve()))
    (Path("home") / "photos").mkdir(parents=True)
    config, folder, _ = configured("--data=~/photos", "--out=~/x")
    assert config.epochs == RECIPES["photos"]().epochs
    assert folder == Path("home/x").resolve()
    Path("home/x.safetensors").touch()
    for words in (["evaluate", "~/x.safetensors"], ["predict", "$HOME/x.safetensors", "a.jpg"],
                  ["report", "~/x.safetensors", "--data", "~/photos"],
                  ["fold", "~/x.safetensors"]):  # fmt: skip
        assert "home/x.safetensors is not a model file" in senet(*words, code=1).output


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("reduction=4,8", (4, 8)),
        ("reduction=4, 4+8+16", (4, (4, 8, 16))),
        ("placement=standard,3x3", ("standard", "3x3")),
        ("se-bias=true,false", (True, False)),
        ("gate_bias=0,1.5", (0, 1.5)),
        ("se_stages=none,2,2+3", (None, 2, (2, 3))),
        ("attention=se,eca", ("se", "eca")),
        ("widths=4+4+8,8+8+16", ((4, 4, 8), (8, 8, 16))),
        ("stem_width=8", (8,)),
    ],
)
@pytest.mark.parametrize("model", ["se_resnet8_cifar", "resnet8_cifar"])  # the twin is known
def test_values_to_vary(monkeypatch, text, values, model):
    calls = []

    def compare(config, folder, seeds, vary, resume):
        calls.append(vary)
        raise KeyboardInterrupt

    monkeypatch.setattr("senet.training.compare.compare", compare)
    senet("compare", "--model", model, "--vary", text, code=130)
    (vary,) = calls
    assert vary.option == text.partition("=")[0].replace("-", "_")
    assert vary.values == values
    assert [type(v) for v in vary.values] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ("se_resnet8_cifar", {"widths": (8, 16, 32), "gate_bias": 2.0}),
        ("resnet8_cifar", {"widths": (8, 16, 32)}),  # the twin
        ("se_resnet18", {"gate_bias": 2.0}),
        ("resnet18", {}),
    ],
)
def test_another_network_keeps_the_options_that_mean_the_same(configured, monkeypatch, model, kept):
    options = {"widths": (8, 16, 32), "gate_bias": 2.0}
    recipe = lambda: TrainConfig(model="se_resnet8_cifar", options=options)  # noqa: E731
    monkeypatch.setitem(RECIPES, "quick", recipe)
    assert configured("--model", model)[0].options == kept


def test_published_weights_need_the_name_of_their_network(configured, tmp_path):
    weights = tmp_path / "published.th"
    weights.touch()
    result = senet("train", "--weights", weights, code=1)
    assert "does not name its network: add --model" in result.output
    config, *_ = configured("--weights", weights, "--model", "resnet20_cifar")
    assert (config.model, config.weights) == ("resnet20_cifar", str(weights))
    assert config.epochs == RECIPES["finetune"]().epochs


def test_weights_that_say_what_they_are_of_bring_their_network(configured, tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "there").mkdir()
    save_file({"not": torch.zeros(1)}, tmp_path / "there" / "model.safetensors")  # read here
    numbers = {"input_size": [3, 96, 96], "mean": [0.5] * 3, "std": [0.5] * 3}
    said = {"architecture": "legacy_seresnet50", "num_classes": 2, "pretrained_cfg": numbers}
    (tmp_path / "there" / "config.json").write_text(json.dumps(said))
    config, *_ = configured("--weights", "there")
    assert (config.model, config.weights) == ("se_resnet50", "there/model.safetensors")
    assert config.options == {"stem_pool": "ceil", "stride_on": "1x1"}
    config, *_ = configured("--weights", "there", "--set", "stem-pool=padded")
    assert config.options["stem_pool"] == "padded"
