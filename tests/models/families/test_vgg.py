"""VGG-16: counts as published, agreement with torchvision and timm, SE after every ReLU."""

import pytest
import torch
from torch import nn

from senet.models import create_model
from senet.models.describe.cost import multiply_adds, parameters
from senet.models.families import vgg
from tests.models.agreement import agree, shapes_of, squeezed

IMAGE = (3, 224, 224)


def test_parameters_are_the_published_ones_and_se_has_as_many_as_equation_5_says():
    assert parameters(shapes_of("vgg16_bn"))[0] == 138_365_992  # torchvision's vgg16_bn
    channels = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    weights_and_biases = sum(2 * c * c // 16 + c // 16 + c for c in channels)
    assert parameters(shapes_of("se_vgg16_bn")) == (138_596_784, weights_and_biases)


def test_multiply_adds_are_the_papers():
    """Table 2: 15.47 G, and 15.48 G with SE, where the paper counts the squeeze's additions too."""
    assert f"{multiply_adds(shapes_of('vgg16_bn'), IMAGE)[0] / 1e9:.2f}" == "15.47"
    se = shapes_of("se_vgg16_bn")
    assert f"{(multiply_adds(se, IMAGE)[0] + squeezed(se, 224)) / 1e9:.2f}" == "15.48"


@pytest.fixture
def narrow(monkeypatch):
    """Make hidden layers of few channels, for quick tests; all else is unchanged."""
    monkeypatch.setattr(vgg, "_HIDDEN", 32)
    return create_model("vgg16_bn", dropout=0.0, num_classes=10)


@pytest.mark.slow
def test_torchvisions_agrees(world, narrow):
    theirs = world.torchvision.models.vgg16_bn(dropout=0.0, init_weights=False, num_classes=10)
    theirs.classifier[0] = nn.Linear(512 * 7 * 7, 32)
    theirs.classifier[3] = nn.Linear(32, 32)
    theirs.classifier[6] = nn.Linear(32, 10)
    agree(narrow, theirs)


@pytest.mark.slow
def test_timms_agrees(world, narrow):
    with torch.device("meta"):
        theirs = world.timm.create_model("vgg16_bn", num_classes=10)
    theirs.pre_logits.fc1 = nn.Conv2d(512, 32, 7, device="meta")
    theirs.pre_logits.fc2 = nn.Conv2d(32, 32, 1, device="meta")
    theirs.head.fc = nn.Linear(32, 10, device="meta")
    theirs.to_empty(device="cpu")
    with torch.no_grad():
        for value in theirs.parameters():
            value.normal_(0, (2 / value[0].numel()) ** 0.5)
    agree(narrow, theirs)


def test_se_sees_what_the_relu_has_made():
    convolution = vgg.Convolution(3, 32, 2, lambda channels, stage: Recorder())
    convolution(torch.randn(2, 3, 8, 8))
    assert convolution.se.seen.min() == 0
    assert convolution.se.seen.shape == (2, 32, 8, 8)


class Recorder(nn.Module):
    def forward(self, x):
        self.seen = x
        return x


def test_dropout_follows_both_hidden_layers_in_training_alone(narrow):
    narrow.dropout6.p = narrow.dropout7.p = 1.0
    x = torch.randn(2, 512, 2, 2)
    assert torch.equal(narrow.train().classify(x), narrow.fc.bias.expand(2, -1))
    assert not torch.equal(narrow.eval().classify(x), narrow.fc.bias.expand(2, -1))


def test_the_stem_takes_the_attention_of_stage_2():
    model = shapes_of("se_vgg16_bn", se_stages=(2, 4), reduction=(4, 8, 16, 16))
    hidden = {
        n.split(".")[0]: m.out_channels for n, m in model.named_modules() if n.endswith("fc1")
    }
    assert hidden == {"conv1": 16, "conv2": 32, "conv4": 32}
