"""What every network offers besides its logits, as code that was written for timm uses it."""

import copy

import pytest
import torch

from senet import create_model, list_models
from senet.models import entry
from senet.models.weights.file import load_model, save_model
from senet.models.weights.record import Record


def of_each_family():
    first = {}
    for name in list_models():
        first.setdefault(entry(name).family, name)
    return sorted(first.values())


@pytest.fixture
def model():
    return create_model("se_resnet8_cifar", num_classes=5).eval()


@pytest.fixture
def x():
    return torch.randn(2, 3, 32, 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", of_each_family())
def test_features_and_classifier_make_the_network(name):
    model = create_model(name, num_classes=5).eval()
    x = torch.randn(2, 3, *[32 if entry(name).preprocessing.size == 32 else 128] * 2)
    with torch.no_grad():
        logits, last = model(x), model.forward_features(x)
        features = model.forward_head(last, pre_logits=True)
        assert features.shape == (2, model.num_features)
        torch.testing.assert_close(model.forward_head(last), logits)
        torch.testing.assert_close(model.get_classifier()(features), logits)
        model.reset_classifier(0)
        torch.testing.assert_close(model(x), features)


def test_the_rest_of_a_network_without_a_classifier_begins_with_the_same_weights():
    torch.manual_seed(1)
    with_it = create_model("se_resnet8_cifar").state_dict()
    torch.manual_seed(1)
    without = create_model("se_resnet8_cifar", num_classes=0).state_dict()
    assert with_it.keys() - without.keys() == {"fc.weight", "fc.bias"}
    assert all(torch.equal(with_it[name], value) for name, value in without.items())


def test_weights_give_a_network_without_their_classifier(model, x, tmp_path, recwarn):
    save_model(tmp_path / "m.safetensors", model, Record.of(model))
    body = create_model("se_resnet8_cifar", weights=tmp_path / "m.safetensors", num_classes=0)
    assert not recwarn.list
    with torch.no_grad():
        torch.testing.assert_close(model.fc(body.eval()(x)), model(x))
    save_model(tmp_path / "body.safetensors", body, Record.of(body))
    again, record = load_model(tmp_path / "body.safetensors")
    assert (again.num_classes, again.num_features, record.classes) == (0, 64, ())


def test_a_classifier_is_replaced_and_so_is_what_the_network_says_of_itself(model, x):
    model.classes = tuple("abcde")
    before = list(dict(model.named_children()))
    for wanted in 7, 0, 3:
        model.reset_classifier(wanted)
        assert model(x).shape == (2, wanted or 64)
        assert model.num_classes == model.architecture.num_classes == wanted
        assert model.num_features == 64
        assert model.classes == ()
        assert list(dict(model.named_children())) == before  # the order in which they run
    model.double().reset_classifier(2)
    assert model.fc.weight.dtype == torch.float64
    with pytest.raises(ValueError, match="num_classes must be at least 0"):
        model.reset_classifier(-1)
    with pytest.raises(ValueError, match="these networks pool by averaging"):
        model.reset_classifier(2, "max")


@pytest.mark.parametrize("name", of_each_family())
@pytest.mark.parametrize("coarse", [False, True])
def test_every_parameter_has_a_depth_that_rises_as_the_network_runs(world, name, coarse):
    with torch.device("meta"):
        model = create_model(name)
    depth = world.timm.models.group_parameters(model, model.group_matcher(coarse), reverse=True)
    assert list(depth) == sorted(depth, key=lambda name: depth[name])
    order = [depth[name] for name, _ in model.named_parameters() if _in_line(model, name)]
    assert order == sorted(order)
    assert max(depth.values()) >= len(model.stages)
    assert depth["fc.weight"] == max(depth.values())
    assert depth[next(iter(dict(model.named_parameters())))] == 0


def _in_line(model, name):
    """Whether a parameter is not in what stands between two stages: that counts as the head."""
    return name.split(".")[0] in (*model.stages, "fc")


def test_timms_layer_decay_gives_earlier_layers_smaller_rates(world, model):
    from timm.optim import param_groups_layer_decay

    groups = param_groups_layer_decay(model, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert scale[id(model.fc.weight)] == 1
    assert scale[id(model.conv1.weight)] == 0.5**4  # the stem, three blocks, the classifier


@pytest.mark.parametrize("name", ["resnet8_cifar", "se_resnet8_cifar"])
def test_checkpointing_changes_no_gradient(name, x):
    one = create_model(name, num_classes=5)
    other = copy.deepcopy(one)
    other.set_grad_checkpointing()
    for model in one, other:
        model(x).square().mean().backward()
    for (name, p), q in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)
    other.set_grad_checkpointing(False)
    assert not other.checkpointing
    assert other.no_weight_decay() == set()


def test_checkpointing_is_not_in_the_way_of_torchscript(x):
    model = create_model("se_resnet8_cifar", num_classes=5).eval()
    model.set_grad_checkpointing()
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(model)(x), model(x))


@pytest.mark.parametrize("name", ["se_resnet18", "mobilenet_v3_small", "se_densenet121"])
def test_checkpointing_does_not_keep_a_network_from_torchscript(name):
    model = create_model(name, num_classes=3).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(model)(x), model(x), rtol=1e-4, atol=1e-5)
    model.set_grad_checkpointing()
    model.train()(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
