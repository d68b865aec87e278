"""Surgery on real networks of timm and torchvision: what is found, and the same results."""

import copy

import pytest
import torch
from torch import nn

from benchmarks.models.surgery import NETWORKS, make
from senet.ops import backend
from senet.surgery import accelerate
from tests.models.agreement import scramble
from tests.oracle import rounded, within_rule

pytestmark = pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))

# How many places in each network are known to run on the passes afterwards.
PLACES = {
    "timm:seresnet50": 33,
    "timm:resnet50": 17,
    "torchvision:resnet50": 17,
    "timm:regnety_016": 82,
    "timm:efficientnet_b0": 33,
    "timm:mobilenetv3_small_100": 22,
    "timm:seresnext26t_32x4d": 18,
    "timm:legacy_seresnet18": 17,
    "timm:legacy_seresnext26_32x4d": 17,
    "timm:resnet26d": 10,
    "timm:ecaresnet26t": 10,
    "timm:resnest14d": 10,
    "timm:skresnet18": 33,
    "timm:res2net50_26w_4s": 17,
    "timm:gernet_s": 40,
    "timm:regnetx_004": 67,
    "timm:regnety_004": 49,
    "timm:dla34": 21,
    "timm:hrnet_w18_small": 37,
    "timm:densenet121": 62,
    "timm:mnasnet_small": 26,
    "timm:ese_vovnet19b_dw": 27,
    "timm:selecsls42b": 41,
    "torchvision:resnet18": 9,
    "torchvision:resnet34": 17,
    "torchvision:resnext50_32x4d": 17,
    "torchvision:mobilenet_v2": 45,
    "torchvision:mobilenet_v3_small": 33,
    "torchvision:efficientnet_b0": 49,
    "torchvision:regnet_y_400mf": 49,
    "torchvision:shufflenet_v2_x1_0": 21,
    "torchvision:densenet121": 62,
    "torchvision:googlenet": 57,
}


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("network", NETWORKS)
def test_an_accelerated_network_is_the_same_network(network):
    model = make(network, num_classes=10)
    scramble(model)
    for module in model.modules():  # dropout would draw other numbers
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    report = accelerate(model, inplace=False)
    assert len(report.changed) == PLACES[network], report
    x = torch.randn(2, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    for training in (False, True):
        plain, fast = (output(m, x, training) for m in (model, report.model))
        exact = copy.deepcopy(model).double()
        truth = output(exact, x.double(), training)
        forms = (exact, torch.float64), (model, torch.float32)
        moved = [rounded(x.double(), torch.float32) for _ in range(2)]
        # Through tens of layers a rounding here or there decides: plain runs differ as much.
        shaken = [output(n, m.to(t), training) for m in moved for n, t in forms]
        wrong = within_rule(fast, plain, truth, torch.float32, shaken)
        assert wrong is None, (training, wrong)
    model.train()(x), report.model.train()(x[:2]).sum().backward()
    for name, counted in model.named_buffers():  # no norm runs twice
        if name.endswith("num_batches_tracked"):
            assert report.model.get_buffer(name) == counted, name


@torch.no_grad()
def output(model: nn.Module, x: torch.Tensor, training: bool) -> torch.Tensor:
    """From a copy, so that no running statistics move."""
    return copy.deepcopy(model).train(training)(x)
