"""SE put into real networks of timm and torchvision: the same logits, and gates that can learn."""

import copy

import pytest
import torch
from torch import nn

from benchmarks.models.surgery import make
from senet.surgery import insert_se
from tests.models.agreement import scramble

pytestmark = pytest.mark.slow

# Networks, and the number of places where SE is put.
INSERTED = {
    "timm:resnet50": 16,
    "timm:resnet26d": 8,
    "timm:resnetv2_50": 16,
    "timm:res2net50_26w_4s": 16,
    "timm:regnetx_002": 13,
    "timm:gernet_s": 14,
    "timm:dla34": 12,
    "timm:mobilenetv2_100": 17,
    "timm:mobilenetv3_small_100": 2,
    "timm:ghostnet_100": 9,
    "timm:tf_efficientnet_lite0": 16,
    "timm:mobilevit_xxs": 7,
    "timm:convnext_atto": 12,  # convolutions of one position, and a layer scale
    "timm:convnext_zepto_rms": 10,
    "timm:poolformer_s12": 12,
    "timm:densenet121": 58,
    "torchvision:convnext_tiny": 18,  # channels last, and a layer scale
    "torchvision:densenet121": 58,
    "torchvision:resnet18": 8,
    "torchvision:resnext50_32x4d": 16,
    "torchvision:mobilenet_v2": 17,
    "torchvision:mobilenet_v3_small": 2,
    "torchvision:mnasnet0_5": 17,
    "torchvision:googlenet": 9,
    "torchvision:inception_v3": 11,
    "torchvision:squeezenet1_1": 8,
}
# Networks that are left alone: at how many places, and why.
LEFT_ALONE = {
    "timm:legacy_seresnet18": (8, "it is there already"),
    "timm:vit_tiny_patch16_224": (1, "no residual branch, no inverted residual"),
    "torchvision:efficientnet_b0": (16, "it is there already"),
    "torchvision:vgg11": (1, "no residual branch, no inverted residual"),
}


def settle(model: nn.Module, x: torch.Tensor) -> None:
    """Give norms weights of their own, and statistics as if it had been trained on ``x``."""
    scramble(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(x)
    model.eval()


def gradients(model: nn.Module, x: torch.Tensor, keys: list[str]) -> dict[str, float]:
    """Return the largest gradient of each parameter."""
    model.zero_grad()
    model(x).square().sum().backward()
    return {key: model.get_parameter(key).grad.abs().max().item() for key in keys}


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("network", INSERTED)
def test_a_network_computes_what_it_did_and_can_learn_se(network):
    model = make(network, num_classes=10)
    size = 96 if network == "torchvision:inception_v3" else 64
    x = torch.randn(2, 3, size, size)
    settle(model, x)
    state = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        before = model(x)
    report = insert_se(model)
    with torch.no_grad():
        torch.testing.assert_close(model(x), before, rtol=1e-5, atol=1e-5 * before.abs().max())
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())

    assert len(report.changed) == INSERTED[network], report
    blocks = [model.get_submodule(f"{finding.path}.se") for finding in report.changed]
    for finding, se in zip(report.changed, blocks, strict=True):
        assert finding.found.endswith(f" {se.fc1.in_channels} channels")
        assert finding.done == f"SE, {sum(p.numel() for p in se.parameters()):,} parameters"

    new = [key for key, _ in model.named_parameters() if key not in state]
    assert len(new) == 4 * len(blocks)
    # The last layers are zero, so that at first no gradient comes past them.
    for key, largest in gradients(model, x, new).items():
        assert (largest > 0) == (".se.fc2." in key), key
    with torch.no_grad():
        for se in blocks:
            se.fc2.weight.normal_(0, 0.01)
    assert all(gradients(model, x, new).values())


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("network", LEFT_ALONE)
def test_a_network_that_has_no_place_is_left_alone(network):
    with torch.device("meta"):
        model = make(network, num_classes=10)
    keys, count = list(model.state_dict()), LEFT_ALONE[network][0]
    report = insert_se(model)
    assert not report.changed
    assert len(report.left_alone) == count, report
    assert all(LEFT_ALONE[network][1] in finding.why for finding in report.left_alone), report
    assert list(model.state_dict()) == keys
