"""Inception-ResNet-v2: counts as published, agreement with timm, SE in the residual branches."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet.models import create_model
from senet.models.describe.cost import multiply_adds, parameters
from senet.models.families.inception import Conv
from senet.models.families.inception_resnet_v2 import Branch, InceptionResNetV2, Residual
from senet.nn import SqueezeExcitation
from tests.models.agreement import agree, shapes_of

IMAGE = (3, 299, 299)


@pytest.mark.slow
def test_counts_are_timms_and_se_has_as_many_as_equation_5_says():
    """Table 2 of the SE paper has 11.75 G for its own, unpublished form of this network.

    Ours is the network of TensorFlow and timm: 55.84 M parameters and 13.16 G. SE adds as many
    multiply-adds as in the paper: 0.01 G.
    """
    plain, se = shapes_of("inception_resnet_v2"), shapes_of("se_inception_resnet_v2")
    assert parameters(plain)[0] == 55_843_464
    assert f"{multiply_adds(plain, IMAGE)[0] / 1e9:.2f}" == "13.16"
    assert f"{multiply_adds(se, IMAGE)[1] / 1e9:.2f}" == f"{11.76 - 11.75:.2f}"
    # 5b and its ten blocks, 6a and its twenty, 7a and its ten.
    channels = [320] * 11 + [1088] * 21 + [2080] * 11
    blocks = [m for m in se.modules() if isinstance(m, SqueezeExcitation)]
    assert [block.fc2.out_channels for block in blocks] == channels
    assert parameters(se)[1] == sum(2 * c * (c // 16) + c // 16 + c for c in channels)


@pytest.mark.slow
def test_timms_agrees(world):
    ours = create_model("inception_resnet_v2", num_classes=10, dropout=0.0)
    theirs = world.timm.create_model("inception_resnet_v2", num_classes=10)
    assert sum(p.numel() for p in theirs.parameters()) == parameters(ours)[0]
    # Norms over two numbers, as at a size of 75, would amplify rounding far more than these.
    agree(ours, theirs, size=107)


@pytest.mark.parametrize("relu", [True, False])
def test_se_is_on_the_branch_before_it_is_scaled_and_added(relu):
    class Gate(nn.Module):
        def forward(self, u):
            self.seen = u
            return 3 * u

    gate = Gate()
    branch = Branch({"1x1": [Conv(4)], "3x3": [Conv(4), Conv(4, 3)]}, scale=0.25, relu=relu)
    block = Residual(8, branch, 3, lambda channels, stage: gate, 1e-3).eval()
    x = torch.randn(2, 8, 5, 5)
    y = block(x)
    torch.testing.assert_close(gate.seen, block.conv(block.branches(x)))
    wanted = x + 0.25 * 3 * gate.seen
    torch.testing.assert_close(y, F.relu(wanted) if relu else wanted)
    assert (y.min() < 0) == (not relu)


def test_our_names_come_back_unchanged():
    own = shapes_of("se_inception_resnet_v2").state_dict()
    assert list(InceptionResNetV2.translate(own)) == list(own)
