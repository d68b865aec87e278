"""Parts of a network that are not trained, or at a smaller rate."""

import pytest

from senet import create_model
from senet.training.groups import freeze, groups


@pytest.fixture
def model():
    return create_model("se_resnet8_cifar")


def trained(model):
    return {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}


def test_parts_are_named_or_fit_a_pattern(model):
    at_rest = freeze(model, ["conv1", "bn1", "layer[12]"])
    assert trained(model) == {"layer3", "fc"}
    assert model.bn1 in at_rest
    assert model.layer2[0].bn1 in at_rest
    assert model.layer3 not in at_rest
    freeze(model, ["*.se"])
    assert not model.layer1[0].se.fc1.weight.requires_grad
    assert model.layer1[0].conv1.weight.requires_grad


def test_a_part_that_is_not_there_is_named_with_those_that_are(model):
    with pytest.raises(ValueError, match=r"freeze=layr1: .*Did you mean layer1 .*conv1, "):
        freeze(model, ["layr1"])
    with pytest.raises(ValueError, match="leaves nothing to train"):
        freeze(model, ["*"])


def test_earlier_stages_have_smaller_rates(model):
    scale = {id(p): g["scale"] for g in groups(model, 0.5) for p in g["params"]}
    assert len(scale) == len(list(model.parameters()))
    assert scale[id(model.fc.bias)] == 1
    assert scale[id(model.layer3[0].se.fc1.bias)] == 0.5
    assert scale[id(model.conv1.weight)] == 0.5**4


def test_one_rate_for_all_is_one_group(model):
    freeze(model, ["conv1"])
    (group,) = groups(model, 1.0)
    assert len(group["params"]) == len(list(model.parameters())) - 1
