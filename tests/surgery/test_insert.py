"""SE put into other people's networks, changed for other attention, and taken out again."""

import copy
import pickle

import pytest
import torch
from torch import nn

from senet import create_model
from senet.surgery import accelerate, insert_se, remove_se, replace, replace_se
from senet.surgery.recognise import se_layers
from tests.models.agreement import scramble

# Networks, and in how many places SE is put.
TIMM = {"resnet50": 16, "regnetx_002": 13, "legacy_seresnet18": 0}
TORCHVISION = {
    "resnet18": 8,
    "resnext50_32x4d": 16,
    "mobilenet_v2": 17,
    "googlenet": 9,
    "vgg11": 0,
}
EVERY = [("timm", n) for n in TIMM] + [("torchvision", n) for n in TORCHVISION]


def make(world, library: str, name: str) -> nn.Module:
    if library == "timm":
        model = world.timm.create_model(name, num_classes=10)
    else:
        options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
        model = world.torchvision.models.get_model(name, num_classes=10, **options)
    scramble(model)
    return model.eval()


@pytest.mark.parametrize(("library", "name"), EVERY, ids=[f"{a}-{b}" for a, b in EVERY])
def test_a_network_computes_what_it_did_and_can_learn_se(world, library, name):
    model = make(world, library, name)
    state, x = copy.deepcopy(model.state_dict()), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = model(x)
    report = insert_se(model)
    known = TIMM if library == "timm" else TORCHVISION
    assert len(report.changed) == known[name], report
    with torch.no_grad():
        torch.testing.assert_close(model(x), before, rtol=1e-5, atol=1e-5)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in state.items())
    new = [p for key, p in model.named_parameters() if key not in state]
    assert bool(new) == bool(known[name])
    model(x).square().sum().backward()
    assert all(p.grad is not None for p in new)
    last = [p for k, p in model.named_parameters() if k not in state and k.endswith("fc2.weight")]
    assert all(p.grad.abs().max() > 0 for p in last)


def test_twice_is_once(world):
    model = make(world, "torchvision", "resnet18")
    insert_se(model)
    keys = list(model.state_dict())
    again = insert_se(model)
    assert not again.changed
    assert all(finding.why for finding in again.left_alone)
    assert list(model.state_dict()) == keys


def test_an_optimizer_made_before_goes_on_with_what_it_knows(world):
    model = make(world, "torchvision", "resnet18")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    insert_se(model)
    before = model.layer1[0].conv1.weight.clone()
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.layer1[0].conv1.weight, before)


def test_copies_and_pickles_keep_se(world):
    model = make(world, "torchvision", "resnet18")
    insert_se(model, start="paper")
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            torch.testing.assert_close(again(x), model(x))


@pytest.mark.parametrize("first", ["insert", "accelerate"])
def test_it_goes_together_with_acceleration(world, first):
    model = make(world, "torchvision", "resnet18")
    slow = insert_se(model, start="paper", inplace=False).model
    fast = copy.deepcopy(model)
    if first == "accelerate":
        accelerate(fast)
    insert_se(fast, start="paper")
    fast.load_state_dict(slow.state_dict())
    report = accelerate(fast)
    if first == "insert":
        assert sum("SE" in finding.found for finding in report.changed) >= 8
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), slow(x), rtol=1e-4, atol=1e-4)


def test_where_names_patterns_or_a_function(world):
    model = make(world, "torchvision", "resnet18")
    assert [f.path for f in insert_se(model, where="layer4.*.bn2", inplace=False).changed] == [
        "layer4.0.bn2",
        "layer4.1.bn2",
    ]
    chosen = insert_se(model, where=lambda path, _: path == "layer1.0.bn1", inplace=False)
    assert [f.path for f in chosen.changed] == ["layer1.0.bn1"]


def test_arguments_out_of_range_are_named(world):
    model = make(world, "torchvision", "resnet18")
    with pytest.raises(ValueError, match="start must be one of"):
        insert_se(model, start="identy")
    with pytest.raises(ValueError, match="wrapped in DataParallel"):
        insert_se(nn.DataParallel(model))


def test_blocks_are_replaced_and_removed(world):
    model = make(world, "timm", "legacy_seresnet18")
    blocks = [m for m in model.modules() if se_layers(m)]
    report = replace_se(model, by="eca")
    assert len(report.changed) == len(blocks) == 8
    assert not any(se_layers(m) for m in model.modules())
    model(torch.randn(1, 3, 64, 64))
    assert len(remove_se(model).changed) == 8
    model(torch.randn(1, 3, 64, 64))


def test_what_was_inserted_can_be_removed_again():
    model = create_model("resnet8_cifar").eval()
    keys, x = list(model.state_dict()), torch.randn(1, 3, 32, 32)
    before = model(x)
    insert_se(model, start="paper")
    assert not torch.allclose(model(x), before)
    remove_se(model)
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(model(x), before)


def test_the_primitive_refuses_the_network_itself():
    with pytest.raises(ValueError, match="the network itself"):
        replace(nn.Linear(2, 2), lambda path, module: nn.Identity())
