"""The primitive of surgery, and what is made of it: other attention, or none."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet import SqueezeExcitation, accelerate, create_model
from senet.nn import EfficientChannelAttention
from senet.surgery import insert_se, remove_se, replace, replace_se
from senet.surgery.with_se import WithSE


def smooth(path, module):
    return nn.PReLU() if isinstance(module, nn.ReLU) else None


class Shared(nn.Module):
    """One ReLU under two names, and one module under two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu = nn.Conv2d(3, 4, 1), nn.ReLU()
        self.again = self.relu
        self.part1 = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.part2 = self.part1

    def forward(self, x):
        return self.part2(self.part1(self.again(self.relu(self.conv1(x)))))


def test_what_is_used_in_several_places_is_replaced_by_one():
    model = Shared()
    report = replace(model, smooth)
    assert [f.path for f in report.changed] == ["relu", "part1.1"]
    assert isinstance(model.relu, nn.PReLU)
    assert model.again is model.relu
    assert model.part2 is model.part1
    model(torch.randn(1, 3, 2, 2))


def test_the_new_is_where_and_what_the_old_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).to("meta", torch.bfloat16).eval()
    weight = model[0].weight
    replace(model, smooth)
    new = model[1].weight
    assert (new.device.type, new.dtype, model[1].training) == ("meta", torch.bfloat16, False)
    assert model[0].weight is weight


def test_a_watched_module_is_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    model[1].register_forward_hook(lambda *_: None)
    report = replace(model, smooth)
    assert not report.changed
    assert "hooks" in report.left_alone[0].why


def test_what_make_refuses_is_left_alone_with_its_reason():
    def make(path, module):
        if isinstance(module, nn.ReLU):
            raise ValueError("it is fine as it is")

    report = replace(Shared(), make)
    assert {(f.path, f.why) for f in report.findings} == {
        ("relu", "it is fine as it is"),
        ("part1.1", "it is fine as it is"),
    }


def test_a_copy_can_be_changed_instead():
    model = Shared()
    report = replace(model, smooth, inplace=False)
    assert isinstance(model.relu, nn.ReLU)
    assert isinstance(report.model.relu, nn.PReLU)


class Swish(nn.Module):
    """SE as in EfficientNet, with SiLU between its layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x):
        s = self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * s.sigmoid()


class Spatial(nn.Module):
    """Gates by position: attention, but not SE."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x):
        return x * self.gate(self.conv(x))


def test_se_of_any_make_is_changed_and_nothing_else():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), Swish(8), Spatial(8), SqueezeExcitation(8, 2))
    report = replace_se(model, by="eca")
    assert [f.path for f in report.changed] == ["1", "3"]
    assert isinstance(model[1], EfficientChannelAttention)
    assert isinstance(model[2], Spatial)
    remove_se(model)
    assert [type(m) for m in model] == [nn.Conv2d, nn.Identity, Spatial, nn.Identity]


def test_options_and_makers_of_blocks():
    model = create_model("se_resnet8_cifar")
    replace_se(model, by="se", reduction=4)
    assert model.layer1[0].se.fc1.out_channels == 4
    replace_se(model, by=lambda channels: SqueezeExcitation(channels, 8))
    assert model.layer3[0].se.fc1.out_channels == 8


def test_channels_are_known_where_no_layer_says_them():
    """ECA has no layer with C channels, but the layers around it have."""
    model = create_model("resnet8_cifar")  # its blocks have a place of their own
    other = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))  # in the norm
    insert_se(model)
    insert_se(other, reduction=2, where="1")
    for network in (model, other):
        replace_se(network, by="eca")
        back = replace_se(network, by="se", reduction=2)
        assert back.changed
        assert not back.left_alone
    assert isinstance(other[1], WithSE)
    assert other[1].se.fc1.out_channels == 4


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=re.escape("no attention 'ec'. Did you mean eca?")):
        replace_se(create_model("se_resnet8_cifar"), by="ec")


def test_an_accelerated_network_stays_accelerated():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), Swish(8))
    plain, x = copy.deepcopy(network), torch.randn(2, 3, 4, 4)
    report = accelerate(network)
    network(x), plain(x)
    for each in (network, plain):
        remove_se(each)
    torch.testing.assert_close(network(x), plain(x))
    assert report.captures == 2


def test_a_plain_twin_remains_of_our_own_networks():
    model, plain = create_model("se_resnet8_cifar"), create_model("resnet8_cifar")
    remove_se(model)
    plain.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.eval()(x), plain.eval()(x))


def test_a_wrapped_network_is_refused():
    for operate in (remove_se, replace_se, lambda model: replace(model, smooth)):
        with pytest.raises(ValueError, match="wrapped in DataParallel"):
            operate(nn.DataParallel(Shared()))
