"""Real networks of timm and torchvision: what is found in them, and the same results."""

import copy

import pytest
import torch
from torch import nn

from benchmarks.models.surgery import NETWORKS, make
from senet import accelerate
from senet.ops import backend
from tests.models.agreement import scramble
from tests.oracle import rounded, within_rule

pytestmark = pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))

# How many tails of each network run on the passes.
TAILS = {}


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("network", NETWORKS)
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


@torch.no_grad()
def output(model: nn.Module, x: torch.Tensor, training: bool) -> torch.Tensor:
    """Its output; running statistics are put back."""
    state = copy.deepcopy(model.state_dict())
    y = model.train(training)(x)
    model.load_state_dict(state)
    return y
