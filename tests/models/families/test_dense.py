"""Residual networks for dense prediction and transfer: dilation, stochastic depth, other norms."""

import copy

import pytest
import torch
from torch import nn

from senet import accelerate, create_model
from senet.nn.drop_path import DropPath
from senet.nn.norm import FrozenBatchNorm2d
from tests.models.test_world import agree, scramble

SHORT = (2, 1, 2, 2)


# --- output stride --------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize(
    ("ours", "theirs"), [("se_resnet50", "seresnet50"), ("resnet18", "resnet18")]
)
def test_dilated_networks_are_timms(world, ours, theirs, stride):
    theirs = scramble(world.timm.create_model(theirs, layers=SHORT, output_stride=stride))
    agree(create_model(ours, layers=SHORT, output_stride=stride), theirs, size=70)


def test_dilated_networks_are_torchvisions(world):
    theirs = world.torchvision.models.resnet50(replace_stride_with_dilation=(False, True, True))
    agree(create_model("resnet50", output_stride=8), scramble(theirs), size=70)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("se_resnet50", {"stride_on": "1x1"}),
        ("se_resnet18", {}),
        ("senet154", {"layers": (1, 1, 1, 1)}),
        ("se_resnet18", {"shortcut": "pad"}),
    ],
)
@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_the_weights_stay_and_the_last_map_has_the_stride(name, options, stride):
    usual = create_model(name, num_classes=5, **options)
    dilated = create_model(name, num_classes=5, output_stride=stride, **options)
    dilated.load_state_dict(usual.state_dict())
    x = torch.randn(1, 3, 64, 64)
    assert dilated.eval().forward_features(x).shape[-1] == 64 // stride
    if stride == 32:
        assert torch.equal(dilated(x), usual.eval()(x))


@pytest.mark.parametrize(
    "name", ["se_resnet164_cifar", "se_wide_resnet16_8_cifar", "se_resnet8_cifar"]
)
def test_networks_for_small_images(name):
    model = create_model(name, layers=(1, 1, 1), output_stride=2).eval()
    assert model.forward_features(torch.randn(1, 3, 16, 16)).shape[-1] == 8


def test_a_dilated_pyramid_knows_its_strides():
    backbone = create_model("se_resnet18", output_stride=8, features=(1, 2, 3, 4))
    assert backbone.strides == (4, 8, 8, 8)


def test_strides_that_no_stage_reaches():
    with pytest.raises(ValueError, match=r"must be one of \[4, 8, 16, 32\], got 64"):
        create_model("se_resnet18", output_stride=64)


# --- stochastic depth -----------------------------------------------------------------------------


def test_branches_are_left_out_for_some_images_and_scaled_for_the_others():
    drop, x = DropPath(0.25), torch.ones(4000, 2, 1, 1)
    y = drop(x)
    assert set(y.unique().tolist()) == {0.0, torch.tensor(4 / 3).item()}
    assert (y == y[:, :1]).all()
    left_out = (y[:, 0] == 0).float().mean().item()
    assert abs(left_out - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5
    assert torch.equal(drop.eval()(x), x)


def test_the_rate_grows_from_block_to_block():
    model = create_model("se_resnet18", layers=(2, 1, 1, 1), drop_path=0.2)
    blocks = [block for name in model.stages for block in getattr(model, name)]
    assert blocks[0].drop_path is None
    assert [round(b.drop_path.rate, 6) for b in blocks[1:]] == [0.05, 0.1, 0.15, 0.2]
    usual = create_model("se_resnet18", layers=(2, 1, 1, 1))
    usual.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(model.eval()(x), usual.eval()(x))


@pytest.mark.parametrize("name", ["se_resnet18", "se_resnet50", "se_resnet164_cifar"])
def test_a_block_whose_branch_is_left_out_is_its_shortcut(name):
    block = create_model(name, drop_path=0.5).layer1[1].train()
    block.drop_path.rate = 1 - 1e-9
    x = torch.randn(2, block.conv1.in_channels, 8, 8).relu()
    torch.testing.assert_close(block(x), x)


def test_rates_that_are_none():
    with pytest.raises(ValueError, match="drop_path must be at least 0 and less than 1, got 1"):
        create_model("se_resnet18", drop_path=1.0)


# --- norms ----------------------------------------------------------------------------------------


def test_group_norms_are_timms(world):
    theirs = scramble(world.timm.create_model("resnet50_gn", layers=SHORT, num_classes=5))
    ours = create_model("resnet50", layers=SHORT, norm_layer="group", num_classes=5)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["group", "none"])
def test_a_file_shows_its_norms(tmp_path, kind):
    theirs = scramble(create_model("se_resnet18", norm_layer=kind)).eval()
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    with pytest.warns(UserWarning, match=f"its names and shapes do: norm_layer='{kind}'"):
        ours = create_model("se_resnet18", weights=tmp_path / "x.pth").eval()
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(x), theirs(x))


def test_frozen_norms_stay_as_they_are():
    usual = scramble(create_model("se_resnet18")).eval()
    frozen = create_model("se_resnet18", norm_layer="frozen")
    frozen.load_state_dict(usual.state_dict())
    x = torch.randn(2, 3, 64, 64)
    before = copy.deepcopy(frozen.state_dict())
    y = frozen.train()(x)
    torch.testing.assert_close(y, usual(x))
    y.sum().backward()
    assert all(torch.equal(before[k], v) for k, v in frozen.state_dict().items())
    norms = [m for m in frozen.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(type(m) is FrozenBatchNorm2d and m.weight.grad is None for m in norms)
    assert frozen.layer1[0].conv1.weight.grad.abs().sum() > 0


def test_without_norms_convolutions_have_biases():
    model = create_model("se_resnet50", norm_layer="none", layers=(1, 1, 1, 1))
    assert not any("bn" in name or "downsample.1" in name for name in model.state_dict())
    assert all(m.bias is not None for m in model.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("kind", ["batch", "frozen", "group", "none"])
@pytest.mark.parametrize("name", ["se_resnet18", "senet154", "se_resnet164_cifar"])
def test_every_network_has_every_norm(name, kind):
    layers = (1, 1, 1) if "cifar" in name else (1, 1, 1, 1)
    model = create_model(name, norm_layer=kind, layers=layers, num_classes=3)
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm_layer": "layer"}, "norm_layer must be one of .*'group'.*, got 'layer'"),
        (
            {"norm_layer": "frozen", "zero_init_residual": True},
            "zero_init_residual needs norms that learn, and these are 'frozen'",
        ),
    ],
)
def test_norms_that_are_not_there(options, message):
    with pytest.raises(ValueError, match=message):
        create_model("se_resnet18", **options)


@pytest.mark.parametrize(
    "options", [{"output_stride": 8}, {"norm_layer": "frozen"}, {"norm_layer": "group"}], ids=str
)
def test_accelerated_they_are_the_same(options):
    torch._dynamo.reset()
    model = scramble(create_model("se_resnet18", layers=(1, 1, 1, 1), **options))
    fast = copy.deepcopy(model)
    accelerate(fast)
    x = torch.randn(2, 3, 64, 64)
    for training in (False, True):
        torch.testing.assert_close(
            fast.train(training)(x), model.train(training)(x), rtol=1e-4, atol=1e-3
        )


# --- words of timm --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "ours"),
    [("in_chans", "in_channels"), ("drop_path_rate", "drop_path"), ("pretrained", "weights")],
)
def test_words_of_timm_are_answered(word, ours):
    with pytest.raises(ValueError, match=f"no option '{word}'. Did you mean {ours}, as it is"):
        create_model("se_resnet18", **{word: 1})
