"""Real networks of timm and torchvision: what is found in them, and the same results.

Capturing all of them takes ten minutes. By default those are run that differ from each other most;
``SENET_ALL=1`` runs all.
"""

import copy
import os

import pytest
import torch
from torch import nn

from benchmarks.models.surgery import NETWORKS, make
from senet import accelerate
from senet.ops import backend
from tests.models.agreement import scramble
from tests.oracle import rounded, within_rule

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native")),
]

# How many tails of each network run on the passes.
TAILS = {
    "timm:seresnet50": 49,
    "timm:resnet50": 49,
    "torchvision:resnet50": 49,
    "timm:regnety_016": 82,
    "timm:efficientnet_b0": 42,
    "timm:mobilenetv3_small_100": 29,
    "timm:seresnext26t_32x4d": 27,
    "timm:legacy_seresnet18": 20,
    "timm:legacy_seresnext26_32x4d": 25,
    "timm:resnet26d": 27,
    "timm:ecaresnet26t": 27,
    "timm:resnest14d": 19,
    "timm:skresnet18": 33,
    "timm:res2net50_26w_4s": 81,
    "timm:gernet_s": 40,
    "timm:regnetx_004": 67,
    "timm:regnety_004": 49,
    "timm:dla34": 33,
    "timm:hrnet_w18_small": 73,
    "timm:densenet121": 121,
    "timm:mnasnet_small": 41,
    "timm:ese_vovnet19b_dw": 23,
    "timm:selecsls42b": 41,
    "torchvision:resnet18": 17,
    "torchvision:resnet34": 33,
    "torchvision:resnext50_32x4d": 49,
    "torchvision:mobilenet_v2": 45,
    "torchvision:mobilenet_v3_small": 29,
    "torchvision:efficientnet_b0": 33,
    "torchvision:regnet_y_400mf": 49,
    "torchvision:shufflenet_v2_x1_0": 37,
    "torchvision:densenet121": 121,
    "torchvision:googlenet": 57,
}


MORE = {
    "timm:regnety_016",
    "timm:legacy_seresnext26_32x4d",
    "timm:resnet26d",
    "timm:resnet50",
    "timm:res2net50_26w_4s",
    "timm:gernet_s",
    "timm:regnetx_004",
    "timm:hrnet_w18_small",
    "timm:densenet121",
    "timm:mnasnet_small",
    "timm:selecsls42b",
    "torchvision:resnet34",
    "torchvision:resnet50",
    "torchvision:resnext50_32x4d",
    "torchvision:regnet_y_400mf",
    "torchvision:shufflenet_v2_x1_0",
    "torchvision:efficientnet_b0",
    "torchvision:mobilenet_v3_small",
    "torchvision:densenet121",
}
RUN = NETWORKS if os.environ.get("SENET_ALL") else [n for n in NETWORKS if n not in MORE]


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("network", RUN)
def test_an_accelerated_network_is_the_same_network(network):
    torch._dynamo.reset()
    model = make(network, num_classes=10)
    scramble(model)
    for module in model.modules():  # dropout would draw other numbers
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    exact, fast = copy.deepcopy(model).double(), copy.deepcopy(model)
    report = accelerate(fast)
    keys = list(fast.state_dict())
    x = torch.randn(2, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    for training in (False, True):
        plain, got = (output(m, x, training) for m in (model, fast))
        truth = output(exact, x.double(), training)
        moved = rounded(x.double(), torch.float32)
        # Through tens of layers a rounding here or there decides: plain runs differ as much.
        forms = (exact, torch.float64), (model, torch.float32)
        shaken = [output(m, moved.to(t), training) for m, t in forms]
        wrong = within_rule(got, plain, truth, torch.float32, shaken)
        assert wrong is None, (training, wrong)
    assert len(report.changed) == TAILS[network], report
    assert list(fast.state_dict()) == keys
    fast.train()(x).sum().backward()
    model.train()(x)
    for name, counted in model.named_buffers():  # no norm runs twice
        if name.endswith("num_batches_tracked"):
            assert fast.get_buffer(name) == counted, name


def output(model: nn.Module, x: torch.Tensor, training: bool) -> torch.Tensor:
    """Return its output, and restore the running statistics."""
    state = copy.deepcopy(model.state_dict())
    y = model.train(training)(x).detach()
    model.load_state_dict(state)
    return y
