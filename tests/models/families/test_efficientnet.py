"""EfficientNet-B0: counts as published, agreement with timm and torchvision, stochastic depth."""

import pytest
import torch
from torch import nn

from senet.models import create_model
from senet.models.describe.cost import multiply_adds, parameters
from senet.models.families.inverted_residual import InvertedResidual, drop_path
from senet.nn import SqueezeExcitation
from tests.models.agreement import agree, shapes_of

pytestmark = pytest.mark.slow


def blocks_of(model: nn.Module) -> list[InvertedResidual]:
    return [m for m in model.modules() if isinstance(m, InvertedResidual)]


def test_counts_are_the_published():
    model = shapes_of("efficientnet_b0")
    # `num_params` of torchvision's weights; 5.3 M in Table 2 of arXiv 1905.11946.
    assert parameters(model)[0] == 5_288_548
    assert f"{multiply_adds(model, (3, 224, 224))[0] / 1e9:.2f}" == "0.39"  # G, there


def test_se_is_in_every_block_and_a_quarter_of_its_inputs():
    blocks = blocks_of(shapes_of("efficientnet_b0"))
    assert len(blocks) == 16
    for block in blocks:
        assert isinstance(block.se, SqueezeExcitation)
        assert isinstance(block.se.activation, nn.SiLU)
        assert block.se.fc2.out_channels == block.depthwise.conv.out_channels
    squeezed = [b.se.fc1.out_channels for b in blocks]
    assert squeezed == [8, 4, 6, 6, 10, 10, 20, 20, 20, 28, 28, 28, 48, 48, 48, 48]
    eight = blocks_of(shapes_of("efficientnet_b0", reduction=8))
    assert [b.se.fc1.out_channels for b in eight] == [
        b.depthwise.conv.out_channels // 8 for b in blocks
    ]
    assert all(isinstance(b.se.activation, nn.SiLU) for b in eight)
    assert all(b.se is None for b in blocks_of(shapes_of("efficientnet_b0_no_se")))


@pytest.mark.parametrize(
    ("name", "options"),
    [("efficientnet_b0", {}), ("tf_efficientnet_b0", {"padding": "same", "eps": 1e-3})],
)
def test_timms_agrees(world, name, options):
    agree(create_model("efficientnet_b0", dropout=0.0, **options), world.timm.create_model(name))


def test_torchvisions_agrees(world):
    theirs = world.torchvision.models.efficientnet_b0(dropout=0.0, stochastic_depth_prob=0.0)
    agree(create_model("efficientnet_b0", dropout=0.0), theirs)


def test_own_names_stay():
    state = shapes_of("efficientnet_b0").state_dict()
    assert list(shapes_of("efficientnet_b0").translate(state)) == list(state)


def test_a_dropped_branch_leaves_the_shortcut_and_the_mean():
    block = blocks_of(create_model("efficientnet_b0", drop_path=0.5))[-2]
    block.drop_path = 0.5
    x = torch.randn(64, 192, 2, 2)
    branch = block.train()(x) - x
    dropped = (branch == 0).flatten(1).all(1)
    assert 16 < dropped.sum() < 48  # of 64, four standard deviations about the half
    block.drop_path = 0.0
    whole = block(x) - x
    torch.testing.assert_close(branch[~dropped], 2 * whole[~dropped], rtol=1e-3, atol=1e-4)
    block.drop_path = 0.5
    assert not (block.eval()(x) == x).flatten(1).all(1).any()


def test_the_rate_of_dropping_rises_with_depth_as_in_torchvision(world):
    ours = [b.drop_path for b in blocks_of(shapes_of("efficientnet_b0", drop_path=0.2))]
    theirs = world.torchvision.models.efficientnet_b0(stochastic_depth_prob=0.2)
    assert ours == pytest.approx(
        [m.p for m in theirs.modules() if isinstance(m, world.torchvision.ops.StochasticDepth)]
    )
    torch.manual_seed(0)
    kept = drop_path(torch.ones(10_000, 1, 1, 1), 0.2)
    assert kept.mean().item() == pytest.approx(1, abs=4 * (0.25 / 10_000) ** 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_path": 1.0}, r"drop_path must be in \[0, 1\), got 1.0"),
        ({"padding": "valid"}, "padding must be one of .*'symmetric', 'same'"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        create_model("efficientnet_b0", **options)
