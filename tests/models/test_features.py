"""A network as a backbone."""

import pytest
import torch

from senet.models import create_model


def test_the_maps_are_those_of_the_network():
    torch.manual_seed(1)
    network = create_model("se_resnet18").eval()
    torch.manual_seed(1)
    backbone = create_model("se_resnet18", features=(1, 3)).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = backbone(x)
        stem = network.stem(x)
        first = network.layer1(stem)
        third = network.layer3(network.layer2(first))
    assert torch.equal(maps[0], first)
    assert torch.equal(maps[1], third)
    assert backbone.channels == (64, 256)
    assert backbone.strides == (4, 16)


def test_what_no_map_needs_is_left_out():
    backbone = create_model("se_vgg16_bn", features=(1, 2))
    used = {name for name, _ in backbone.named_parameters()}
    backbone(torch.randn(1, 3, 32, 32))[-1].sum().backward()
    assert {name for name, p in backbone.named_parameters() if p.grad is not None} == used


def test_strides_are_those_of_the_network_where_its_maps_are_not_padded():
    with torch.device("meta"):
        backbone = create_model("inception_v3", features=(0, 1, 2, 3, 4))
    assert backbone.strides == (2, 4, 8, 16, 32)


@pytest.mark.parametrize("levels", [(), (2, 1), (1, 1), (5,), (-1,)])
def test_levels_out_of_range_are_named(levels):
    with pytest.raises(ValueError, match=r"must be rising levels of resnet18, .* 0 .* to 4"):
        create_model("resnet18", features=levels)
