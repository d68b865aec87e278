import pytest

from senet.models import Architecture, create_model, entry, list_models


def test_every_network_has_its_twin():
    names = list_models()
    assert names == sorted(names)
    for name in names:
        twin = entry(entry(name).twin)
        assert (twin.twin, twin.has_se) == (name, not entry(name).has_se)


def test_unknown_names_suggest_near_ones():
    with pytest.raises(ValueError, match=r"Did you mean .*se_resnet50"):
        create_model("seresnet50")


def test_unknown_options_suggest_near_ones():
    with pytest.raises(ValueError, match="Did you mean reduction"):
        create_model("se_resnet50", reducton=8)


def test_a_plain_network_takes_no_option_of_se():
    with pytest.raises(ValueError, match="resnet50 has no option 'reduction'"):
        create_model("resnet50", reduction=8)


def test_counts_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="num_classes must be at least 0, got -1"):
        create_model("resnet20_cifar", num_classes=-1)
    with pytest.raises(ValueError, match="in_channels must be at least 1, got 0"):
        create_model("resnet20_cifar", in_channels=0)


def test_a_model_remembers_its_architecture():
    model = create_model("se_resnet20_cifar", num_classes=4, reduction=4)
    assert model.architecture == Architecture("se_resnet20_cifar", 4, 3, {"reduction": 4})
    again = model.architecture.build()
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }
