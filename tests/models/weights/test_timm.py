"""timm's names of networks and its configurations, against timm itself."""

import pytest
import torch

from senet.models import create_model, entry
from senet.models.weights.timm import NETWORKS, read_timm

CONFIG = {
    "architecture": "seresnet50",
    "num_classes": 3,
    "pretrained_cfg": {
        "input_size": [3, 160, 160],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.3, 0.2, 0.1],
        "num_classes": 1000,
    },
}


def described(state):
    return {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}


# A rule is tested on the shallowest network that it is for.
DEEPER = ("101", "152", "101_32x4d", "wide_resnet101_2")


@pytest.mark.parametrize("name", [name for name in NETWORKS if not name.endswith(DEEPER)])
def test_networks_have_the_tensors_that_timms_have(world, name):
    own, options = NETWORKS[name]
    with torch.device("meta"):
        theirs = world.timm.create_model(name).state_dict()
        ours = create_model(own, **options).state_dict()
    assert described(entry(own).family.translate(theirs)) == described(ours)


def test_a_configuration():
    record = read_timm(CONFIG)
    assert record.architecture.name == "se_resnet50"
    assert (record.architecture.num_classes, record.architecture.in_channels) == (3, 3)
    preprocessing = record.preprocessing
    assert (preprocessing.size, preprocessing.crop) == (160, 0.95)
    assert preprocessing.interpolation == "bicubic"
    assert (preprocessing.mean, preprocessing.std) == ((0.5, 0.4, 0.3), (0.3, 0.2, 0.1))
    assert record.classes == ()


def test_the_first_form_was_flat():
    flat = {"architecture": "seresnet50", **CONFIG["pretrained_cfg"], "num_classes": 3}
    assert read_timm(flat) == read_timm(CONFIG)


@pytest.mark.parametrize("names", [["a", "b", "c"], {"1": "b", "2": "c", "0": "a"}])
def test_classes_are_named_where_the_configuration_names_them(names):
    assert read_timm({**CONFIG, "label_names": names}).classes == ("a", "b", "c")
    assert read_timm({**CONFIG, "num_classes": 4, "label_names": names}).classes == ()


def test_options_come_with_the_name():
    record = read_timm({**CONFIG, "architecture": "legacy_seresnet50"})
    assert record.architecture.name == "se_resnet50"
    assert record.architecture.options == {"stem_pool": "ceil", "stride_on": "1x1"}


def test_networks_that_are_not_here_keep_their_names():
    assert read_timm({**CONFIG, "architecture": "vit_tiny"}).architecture.name == "vit_tiny"


def test_files_of_others_are_none():
    assert read_timm({}) is None
    assert read_timm({"architectures": ["BertModel"], "hidden_size": 768}) is None
    assert read_timm({"architecture": {"name": "se_resnet50"}}) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": [3, 224, 192]}, "takes images of 224×192"),
        ({"interpolation": "lanczos"}, "resizes its images by 'lanczos'"),
    ],
)
def test_what_we_do_not_have_is_said(changes, message):
    with pytest.raises(ValueError, match=message):
        read_timm({**CONFIG, "pretrained_cfg": {**CONFIG["pretrained_cfg"], **changes}})
