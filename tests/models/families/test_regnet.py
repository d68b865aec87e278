"""RegNetY-1.6GF: counts as published, agreement with timm and torchvision."""

import math

import pytest
from torch import nn

from senet.models import create_model
from senet.models.describe.cost import multiply_adds, parameters
from senet.models.families.regnet import REGNET_016, Bottleneck
from tests.models.agreement import agree, shapes_of

pytestmark = pytest.mark.slow

# When every pixel moves by one rounding, gradients in timm's own network move by 7,100 to 7,900.
ROUNDINGS = 1e4


def blocks_of(model: nn.Module) -> list[Bottleneck]:
    return [m for m in model.modules() if isinstance(m, Bottleneck)]


def test_counts_are_the_published():
    model = shapes_of("regnety_016")
    # `num_params` of torchvision's weights; 11.2 M and 1.6 G in the paper's appendix.
    assert parameters(model)[0] == 11_202_430
    assert f"{multiply_adds(model, (3, 224, 224))[0] / 1e9:.1f}" == "1.6"


def test_the_stages_are_on_the_papers_line():
    """Equations 2 to 4 of arXiv 2003.13678, and widths rounded to whole groups."""
    depth, w_0, w_a, w_m, group = 27, 48, 20.71, 2.65, REGNET_016["group_width"]
    steps = [round(math.log((w_0 + w_a * j) / w_0) / math.log(w_m)) for j in range(depth)]
    widths = [round(round(w_0 * w_m**s / 8) * 8 / group) * group for s in steps]
    assert tuple(sorted(set(widths))) == REGNET_016["widths"]
    assert tuple(widths.count(w) for w in REGNET_016["widths"]) == REGNET_016["layers"]


def test_se_is_in_every_block_and_a_quarter_of_its_inputs():
    blocks = blocks_of(shapes_of("regnety_016"))
    assert len(blocks) == 27
    for block in blocks:
        assert block.se.fc1.out_channels == block.conv1.conv.in_channels // 4
        assert block.se.fc2.out_channels == block.conv2.conv.out_channels
    eight = blocks_of(shapes_of("regnety_016", reduction=8))
    assert all(b.se.fc1.out_channels == b.conv2.conv.out_channels // 8 for b in eight)
    assert all(b.se is None for b in blocks_of(shapes_of("regnety_016_no_se")))


def test_timms_agrees(world):
    agree(create_model("regnety_016"), world.timm.create_model("regnety_016"), roundings=ROUNDINGS)


def test_torchvisions_agrees(world):
    agree(
        create_model("regnety_016"), world.torchvision.models.regnet_y_1_6gf(), roundings=ROUNDINGS
    )


def test_without_se_it_is_made_of_regnetxs_block(world):
    theirs = world.timm.create_model("regnety_016", se_ratio=0.0)
    agree(create_model("regnety_016_no_se"), theirs, roundings=ROUNDINGS)


def test_own_names_stay():
    state = shapes_of("regnety_016").state_dict()
    assert list(shapes_of("regnety_016").translate(state)) == list(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (2, 6)}, "must name the same stages"),
        ({"group_width": 32}, r"widths=\(48, 120, 336, 888\) must be multiples of group_width=32"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        create_model("regnety_016", **options)
