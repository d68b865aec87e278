"""MobileNet: counts as published, agreement with timm."""

import pytest

from senet.models import create_model
from senet.models.describe.cost import multiply_adds, parameters
from tests.models.agreement import agree, shapes_of, squeezed

IMAGE = (3, 224, 224)


@pytest.mark.parametrize(
    ("width", "millions", "adds"),
    # Tables 6 and 7 of arXiv 1704.04861.
    [(1.0, "4.2", 569), (0.75, "2.6", 325), (0.5, "1.3", 149), (0.25, "0.5", 41)],
)
def test_counts_are_the_authors_at_every_width(width, millions, adds):
    model = shapes_of("mobilenet", width=width)
    assert f"{parameters(model)[0] / 1e6:.1f}" == millions
    assert round(multiply_adds(model, IMAGE)[0] / 1e6) == adds


def test_counts_are_the_se_papers():
    """Table 3: 569 M and 4.2 M; with SE 572 M, the additions of the squeeze included, and 4.7 M."""
    assert parameters(shapes_of("mobilenet"))[0] == 4_231_976
    se = shapes_of("se_mobilenet")
    # After each pointwise convolution 2 C²/16 weights, and biases: equation 5.
    channels = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    assert parameters(se)[1] == sum(2 * c * c // 16 + c // 16 + c for c in channels)
    assert f"{parameters(se)[0] / 1e6:.1f}" == "4.7"
    assert round((multiply_adds(se, IMAGE)[0] + squeezed(se, 224)) / 1e6) == 572


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_timms_agrees(world, activation):
    theirs = world.timm.create_model("mobilenetv1_100", act_layer=activation)
    agree(create_model("mobilenet", activation=activation), theirs)


def test_timms_half_width_agrees(world):
    """It has no name in timm, but the same builder."""
    from timm.models.efficientnet import _gen_mobilenet_v1

    agree(create_model("mobilenet", width=0.5, activation="relu6"), _gen_mobilenet_v1("x", 0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.01}, "width=0.01 leaves no channel of 32"),
        ({"activation": "gelu"}, "activation must be one of"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        create_model("mobilenet", **options)
