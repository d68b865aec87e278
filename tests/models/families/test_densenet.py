"""DenseNet: counts as published, agreement with torchvision and timm."""

import pytest
import torch

from senet.models import create_model
from senet.models.describe.cost import multiply_adds, parameters
from senet.models.families.densenet import DenseLayer, DenseNet
from senet.nn import SqueezeExcitation
from tests.models.agreement import agree, shapes_of


def test_counts_are_torchvisions_and_se_adds_what_its_docstring_says():
    plain, se = shapes_of("densenet121"), shapes_of("se_densenet121")
    assert parameters(plain)[0] == 7_978_856  # as torchvision publishes it, and 2.834 G
    assert f"{multiply_adds(plain, (3, 224, 224))[0] / 1e9:.3f}" == "2.834"
    # One block of 32 channels in each of 58 layers.
    assert parameters(se) == (7_978_856 + 58 * 162, 58 * 162)


def test_torchvisions_agrees(world):
    agree(create_model("densenet121"), world.torchvision.models.densenet121())


@pytest.mark.slow
def test_timms_agrees(world):
    agree(create_model("densenet121"), world.timm.create_model("densenet121"))


def test_names_of_torchvisions_published_file():
    """It is older than torchvision's code, which renames such keys when it downloads the file."""
    old = {
        "features.denseblock4.denselayer16.norm.2.weight": torch.zeros(1),
        "features.denseblock4.denselayer16.conv.1.weight": torch.zeros(1),
        "features.transition3.norm.weight": torch.zeros(1),
    }
    assert list(DenseNet.translate(old)) == [
        "block4.layer16.norm2.weight",
        "block4.layer16.conv1.weight",
        "block4.transition.norm.weight",
    ]


def test_se_gates_the_new_maps_and_leaves_the_old():
    torch.manual_seed(4)
    layer = DenseLayer(64, 32, 2, lambda channels, stage: SqueezeExcitation(channels)).eval()
    x = torch.randn(2, 64, 6, 6)
    with torch.no_grad():
        gated = layer(x)
        se, layer.se = layer.se, None
        bare = layer(x)
    assert torch.equal(gated[:, :64], x)
    torch.testing.assert_close(gated[:, 64:], se(bare[:, 64:]))
