"""Surgery on real networks of timm and torchvision: what is found, and the same results."""

import copy

import pytest
import torch
from torch import nn

from senet.ops import backend
from senet.surgery import accelerate
from tests.models.agreement import scramble
from tests.oracle import rounded, within_rule

pytestmark = pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))

# Networks, and how many places in each are known to run on the passes afterwards.
TIMM = {
    "resnet50": 17,
    "seresnet50": 33,
    "seresnext26t_32x4d": 18,
    "legacy_seresnet18": 17,
    "legacy_seresnext26_32x4d": 17,
    "resnet26d": 10,
    "ecaresnet26t": 10,
    "resnest14d": 10,
    "skresnet18": 33,
    "res2net50_26w_4s": 17,
    "gernet_s": 40,
    "regnetx_004": 67,
    "regnety_004": 49,
    "dla34": 21,
    "hrnet_w18_small": 37,
    "densenet121": 62,
    "mobilenetv3_small_100": 22,
    "efficientnet_b0": 33,
    "mnasnet_small": 26,
    "ese_vovnet19b_dw": 27,
    "selecsls42b": 41,
}
TORCHVISION = {
    "resnet18": 9,
    "resnext50_32x4d": 17,
    "mobilenet_v2": 45,
    "mobilenet_v3_small": 33,
    "regnet_y_400mf": 49,
    "shufflenet_v2_x1_0": 21,
    "densenet121": 62,
    "googlenet": 57,
    "resnet34": 17,
    "efficientnet_b0": 49,
}
EVERY = [("timm", n) for n in TIMM] + [("torchvision", n) for n in TORCHVISION]


def make(world, library: str, name: str) -> nn.Module:
    if library == "timm":
        return world.timm.create_model(name, num_classes=10)
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    return world.torchvision.models.get_model(name, num_classes=10, **options)


@pytest.mark.parametrize(("library", "name"), EVERY, ids=[f"{a}-{b}" for a, b in EVERY])
def test_an_accelerated_network_is_the_same_network(world, library, name):
    model = make(world, library, name)
    scramble(model)
    for module in model.modules():  # dropout would draw other numbers
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    report = accelerate(model, inplace=False)
    known = TIMM if library == "timm" else TORCHVISION
    assert len(report.changed) == known[name], report
    x = torch.randn(2, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    for training in (False, True):
        plain, fast = (output(m, x, training) for m in (model, report.model))
        exact = copy.deepcopy(model).double()
        truth = output(exact, x.double(), training)
        moved = [rounded(x.double(), torch.float32) for _ in range(2)]
        shaken = [output(exact, m, training) for m in moved]
        wrong = within_rule(fast, plain, truth, torch.float32, shaken)
        assert wrong is None, (training, wrong)


@torch.no_grad()
def output(model: nn.Module, x: torch.Tensor, training: bool) -> torch.Tensor:
    """From a copy, so that no running statistics move."""
    return copy.deepcopy(model).train(training)(x)
