"""Inception-v3: counts as published, agreement with timm and torchvision."""

import pytest
import torch

from senet.models import create_model, entry
from senet.models.describe.cost import multiply_adds, parameters
from senet.models.families.inception_v3 import InceptionV3
from senet.models.weights.file import load_state
from senet.nn import SqueezeExcitation
from tests.models.agreement import agree, scramble, shapes_of


def test_counts_are_the_published_ones():
    plain, se = shapes_of("inception_v3"), shapes_of("se_inception_v3")
    auxiliary = 128 * 768 + 2 * 128 + 25 * 128 * 768 + 2 * 768 + 768 * 1000 + 1000
    assert parameters(plain)[0] == 27_161_264 - auxiliary  # torchvision's, and 5.713 G
    assert f"{multiply_adds(plain, (3, 299, 299))[0] / 1e9:.3f}" == "5.713"
    channels = [256, 288, 288, *[768] * 5, 1280, 2048, 2048]
    blocks = [m for m in se.modules() if isinstance(m, SqueezeExcitation)]
    assert [block.fc2.out_channels for block in blocks] == channels
    assert parameters(se)[1] == sum(2 * c * (c // 16) + c // 16 + c for c in channels)


@pytest.mark.slow
def test_timms_agrees(world):
    ours = create_model("inception_v3", num_classes=10, dropout=0.0)
    theirs = world.timm.create_model("inception_v3", num_classes=10)
    # In training, norms over few numbers amplify rounding: at this size, timm's logits in float32
    # are 1.6e-4 from those in float64.
    agree(ours, theirs, size=107, roundings=1e4)


def test_torchvisions_agrees_with_its_auxiliary_classifier_and_its_inputs(world):
    theirs = world.torchvision.models.inception_v3(
        num_classes=10, init_weights=False, transform_input=True
    )
    scramble(theirs)
    ours = create_model("inception_v3", num_classes=10)
    load_state(ours.double(), theirs.double().state_dict())
    pixels = torch.rand(2, 3, 75, 75, dtype=torch.float64)
    usual, own = entry("resnet50").preprocessing, entry("inception_v3").preprocessing
    with torch.no_grad():
        found = ours.eval()(normalised(pixels, own))
        wanted = theirs.eval()(normalised(pixels, usual))
    torch.testing.assert_close(found, wanted)


def normalised(pixels, preprocessing):
    mean, std = (
        torch.tensor(values, dtype=pixels.dtype).view(3, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (pixels - mean) / std


def test_preprocessing_is_timms(world):
    for name in ("inception_v3", "inception_resnet_v2"):
        theirs = world.timm.get_pretrained_cfg(name)
        ours = entry(name).preprocessing
        assert (3, ours.size, ours.size) == theirs.input_size
        assert (ours.mean, ours.std) == (theirs.mean, theirs.std)
        assert (ours.crop, ours.interpolation) == (theirs.crop_pct, theirs.interpolation)


def test_our_names_come_back_unchanged():
    own = shapes_of("se_inception_v3").state_dict()
    assert list(InceptionV3.translate(own)) == list(own)
