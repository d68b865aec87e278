import json
import re
import subprocess
import sys

import pytest

from senet.models import entry
from senet.training.config import TrainConfig
from senet.training.recipes import RECIPES, imagenet, recipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_configuration_survives_json(name):
    config = recipe(name)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_so_do_options_that_are_tuples():
    config = TrainConfig(options={"widths": (4, 8), "gate": "tanh"})
    again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.options["widths"] == (4, 8)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs=0 leaves nothing to do but the probe of weights"),
        ({"epochs": 2.5}, "epochs must be a whole number of at least 0, got 2.5"),
        ({"epochs": True}, "epochs must be a whole number of at least 0, got True"),
        ({"batch_size": "32"}, "batch_size must be a whole number of at least 1, got '32'"),
        ({"lr": 0}, "lr must be a number greater than 0, got 0"),
        ({"lr": float("nan")}, "lr must be a number greater than 0, got nan"),
        ({"momentum": 1}, r"momentum must be a number in [0, 1), got 1"),
        ({"crop_scale": 0}, r"crop_scale must be a number in (0, 1], got 0"),
        ({"ema": -0.1}, r"ema must be a number in [0, 1), got -0.1"),
        ({"crop": 1.5}, "crop must be a number in (0, 1], got 1.5"),
        ({"limit": 0}, "limit must be a whole number of at least 1, got 0"),
        ({"workers": -1}, "workers must be a whole number of at least 0, got -1"),
        ({"flip": 1}, "flip must be true or false, got 1"),
        ({"optimizer": "sdg"}, "optimizer must be one of ('sgd', 'adamw'), got 'sdg'. "
                               "Did you mean sgd?"),
        ({"schedule": "cosin"}, "Did you mean cosine?"),
        ({"precision": "16"}, "precision must be one of"),
        ({"device": "gpu"}, "device must be one of ('auto', 'cpu', 'cuda', 'mps'), got 'gpu'"),
        ({"epochs": 2, "warmup": 2}, "warmup must be shorter than the training"),
        ({"milestones": (3,)}, "milestones are the epochs of schedule='step'"),
        ({"schedule": "step"}, "milestones are the epochs of schedule='step'"),
        ({"schedule": "step", "milestones": (3, 2)}, "milestones must be rising epochs"),
        ({"schedule": "step", "milestones": (0, 2)}, "milestones must be rising epochs"),
        ({"crop_padding": 2, "crop_scale": 0.5}, "two kinds of random crop"),
        ({"precision": "16-mixed", "device": "cpu"}, "'bf16-mixed'"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_named(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TrainConfig(**wrong)


def test_an_unknown_field_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"no field 'epoch'\. Did you mean epochs\?"):
        TrainConfig.from_dict({"epoch": 3})


def test_differences_are_named_field_by_field():
    a, b = TrainConfig(lr=0.1, options={"gate": "tanh"}), TrainConfig(lr=0.2, epochs=10)
    assert a.differences(b) == ["options: {'gate': 'tanh'}, not {}", "lr: 0.1, not 0.2"]
    assert a.differences(a) == []
    assert a.differences(TrainConfig(lr=0.1, options={"gate": "tanh"}, device="cpu")) == []


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_names_a_network_that_has_a_twin(name):
    assert entry(recipe(name).model).plain


def test_the_imagenet_recipe_is_that_of_the_paper():
    config = imagenet(1024)
    assert (config.lr, config.epochs, config.milestones) == (0.6, 100, (30, 60, 90))
    assert imagenet(256).lr == pytest.approx(0.15)


def test_configurations_are_light():
    loaded = (
        "import sys, senet.training.config, senet.training.recipes, senet.training.schedule;"
        "print([m for m in ('pytorch_lightning', 'tensorboard', 'PIL') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
