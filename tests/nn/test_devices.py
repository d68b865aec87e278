"""Networks on every available device: on a GPU, the passes in Triton, plain and in graphs."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.gpu.graph import captured
from senet import accelerate, create_model
from senet.ops import backend, eager
from tests.oracle import SHAKES, rounded, within_rule

# The tail of residual networks, and the unit with an activation between norm and SE; image sides.
NETWORKS = {"se_resnet8_cifar": 32, "mobilenet_v3_small": 64}
PLACES = [("se_resnet8_cifar", "cpu")]  # the other takes half a minute there
if torch.cuda.is_available():
    PLACES += [(name, "cuda") for name in NETWORKS]
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(autouse=True)
def _no_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


class Steps:
    """A few training steps of a network on the same images: their losses."""

    def __init__(self, name, device):
        self.model = create_model(name, num_classes=4).to(device)
        self.model = self.model.to(memory_format=torch.channels_last)
        side = NETWORKS[name]
        self.images = torch.randn(8, 3, side, side).to(device)
        self.labels = (torch.arange(8) % 4).to(device)

    def losses(self, model, count=3, amp=False, fast=False):
        """Return the losses of a copy that is trained, in the type of ``model``."""
        model = copy.deepcopy(model)
        if fast:
            accelerate(model)
        step = Step(model, self.images, self.labels, amp)
        return torch.stack([step() for _ in range(count)])


class Step:
    def __init__(self, model, images, labels, amp):
        self.model, self.amp = model.train(), amp
        type_ = next(model.parameters()).dtype
        self.images, self.labels = images.to(type_), labels
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        for p in model.parameters():
            self.optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
        self.loss = torch.zeros((), device=images.device, dtype=type_)

    def __call__(self):
        self.optimizer.zero_grad()
        with torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.amp):
            loss = F.cross_entropy(self.model(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        self.loss.copy_(loss.detach())
        return self.loss.clone()


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def shaken(model):
    """Return a copy in which every weight is moved by one rounding of float32."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for value in moved.parameters():
            value.copy_(rounded(value, torch.float32))
    return moved


@pytest.mark.parametrize(("name", "device"), PLACES)
def test_steps_of_training_are_those_of_plain_pytorch(name, device):
    steps = Steps(name, device)
    if backend.of(steps.images) is eager:
        pytest.skip(f"no kernels here: {backend.explain()}")
    model = without_dropout(steps.model)
    exact = copy.deepcopy(model).double()
    plain, truth = steps.losses(model), steps.losses(exact)
    moved = [steps.losses(shaken(exact)) for _ in range(SHAKES)]
    wrong = within_rule(steps.losses(model, fast=True), plain, truth, torch.float32, moved)
    assert wrong is None, wrong


@gpu
@pytest.mark.parametrize("amp", [True, False], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_in_a_cuda_graph_is_the_step_without(name, amp):
    steps = Steps(name, "cuda")
    model = without_dropout(steps.model)
    wanted = steps.losses(model, 8, amp)
    step = Step(copy.deepcopy(model), steps.images, steps.labels, amp)
    replay = captured(step, torch.device("cuda"))  # three steps to warm up; capturing runs none
    found = []
    for _ in range(5):
        replay()
        found.append(step.loss.clone())
    torch.testing.assert_close(torch.stack(found), wanted[3:], rtol=1e-2, atol=1e-2)
