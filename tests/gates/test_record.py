"""Blocks of channel attention, known by what they do; and the gates that they make."""

import pytest
import torch
from torch import nn

from senet import SqueezeExcitation
from senet.gates.record import gates_of, record


def blocks_of(world):
    timm, torchvision = world.timm.layers, world.torchvision.ops
    return {
        "timm SE": timm.SEModule(16),
        "timm SE, SiLU": timm.SEModule(16, act_layer=nn.SiLU, gate_layer="hard_sigmoid"),
        "timm SE, norm": timm.SEModule(16, norm_layer=nn.BatchNorm2d),
        "timm eSE": timm.EffectiveSEModule(16),
        "timm ECA": timm.EcaModule(16),
        "timm CBAM channels": timm.cbam.ChannelAttn(16),
        "torchvision SE": torchvision.SqueezeExcitation(16, 4, activation=nn.SiLU),
        "ours": SqueezeExcitation(16, 4),
    }


def test_all_kinds_of_blocks_show_their_gates(world):
    u = torch.randn(3, 16, 5, 5)
    for name, block in blocks_of(world).items():
        gates = gates_of(block.eval())
        assert gates is not None, name
        s = gates(u).reshape(3, 16, -1)[..., :1, None]
        torch.testing.assert_close(block(u), u * s, msg=name)
        (seen,) = record(block, {"": block}, [(u, torch.zeros(3).long())], 1).values()
        torch.testing.assert_close(seen.overall.float(), s.mean(0).flatten(), msg=name)


def test_what_is_no_block_is_none(world):
    layers = world.timm.layers
    others = [
        nn.Conv2d(8, 8, 1),
        nn.Sequential(nn.Conv2d(8, 8, 1), nn.Sigmoid()),
        layers.LayerScale2d(8),
        layers.BatchNormAct2d(8),
        world.timm.models.resnet.BasicBlock(8, 8),
    ]
    for other in others:
        assert gates_of(other) is None, other


def test_gates_of_positions_are_told_apart(world):
    spatial = world.timm.layers.cbam.SpatialAttn().eval()
    found = record(spatial, {"x": spatial}, [(torch.randn(2, 8, 5, 5), torch.zeros(2).long())], 1)
    assert found["x"] == "its gates are not one number an image and channel"


class Biased(SqueezeExcitation):
    """Adds something to what its gates leave."""

    def forward(self, u, mask=None):
        return super().forward(u, mask) + 0.1


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (Biased(8, 2), "it does more than to multiply its map with its gates"),
        (SqueezeExcitation(8, 2, gate="relu"), "its gates are not finite"),
    ],
)
def test_blocks_that_do_something_else_say_so(block, why):
    nn.init.constant_(block.fc2.bias, float("inf") if "finite" in why else 0.0)
    found = record(block, {"x": block}, [(torch.randn(2, 8, 5, 5), torch.zeros(2).long())], 1)
    assert found["x"] == why
    assert not block._forward_hooks
