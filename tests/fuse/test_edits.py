"""Whatever is done to a module of an accelerated block has the effect that it has in plain PyTorch.

Blocks of several libraries, each of their modules, every edit: before the first call and after, in
training and evaluation; and after the edit is undone the block runs on the passes as before. In
float64, where the passes are those of plain PyTorch, so that rounding decides nothing. By default a
sample is run; ``SENET_ALL=1`` runs all.
"""

import copy
import os

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from senet import accelerate, create_model
from senet.fuse import rewrite
from senet.surgery import insert_se
from tests.models.agreement import scramble

pytestmark = pytest.mark.slow

SAMPLE = 1 if os.environ.get("SENET_ALL") else 13


class Wrapped(nn.Module):
    """Replace a module by another, as an adapter does."""

    def __init__(self, inner, keep=False):
        super().__init__()
        self.inner = inner
        if keep:  # with the attributes that others may look for
            self.weight, self.bias = inner.weight, inner.bias

    def forward(self, x):
        return 1.5 * self.inner(x) + 0.1


class LowRank(nn.Module):
    """LoRA: a frozen layer, and a product of two thin ones beside it."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        out, width = layer.weight.shape[0], layer.weight[0].numel()
        self.a = nn.Parameter(torch.linspace(-0.1, 0.1, 2 * width).reshape(2, width))
        self.b = nn.Parameter(torch.linspace(0.1, -0.1, 2 * out).reshape(out, 2))

    def forward(self, x):
        moved = self.layer.weight + (self.b @ self.a).reshape(self.layer.weight.shape)
        return torch.func.functional_call(self.layer, {"weight": moved}, (x,))


def put(block, path, new):
    owner, _, name = path.rpartition(".")
    setattr(block.get_submodule(owner), name, new)


def exchange(make):
    """Replace a module; undo by restoring the old one."""

    def edit(block, path):
        old = block.get_submodule(path)
        put(block, path, make(old))
        return lambda: put(block, path, old)

    return edit


def hook(name, function):
    return lambda block, path: getattr(block.get_submodule(path), name)(function).remove


def halved(module, grad_input, grad_output):
    return tuple(None if g is None else 0.5 * g for g in grad_input)


def pruned(block, path):
    layer = block.get_submodule(path)
    weight = layer.weight
    prune.l1_unstructured(layer, "weight", 0.6)
    with torch.no_grad():
        layer.weight_orig.mul_(1.3)  # the mask is applied anew at every forward

    def undo():
        for name, hooked in list(layer._forward_pre_hooks.items()):
            if isinstance(hooked, prune.BasePruningMethod):
                del layer._forward_pre_hooks[name]
        del layer._parameters["weight_orig"], layer._buffers["weight_mask"], layer.weight
        layer.weight = weight

    return undo


def normed(block, path):
    layer = block.get_submodule(path)
    parametrizations.weight_norm(layer)
    layer.parametrizations.weight.original0.data.mul_(1.7)
    return lambda: parametrize.remove_parametrizations(layer, "weight")


def attribute(name, value):
    def edit(block, path):
        module = block.get_submodule(path)
        before = getattr(module, name)
        setattr(module, name, value(before))
        return lambda: setattr(module, name, before)

    return edit


def assigned(block, path):
    module = block.get_submodule(path)
    state = {k: 1.1 * v if v.is_floating_point() else v for k, v in module.state_dict().items()}
    module.load_state_dict(state, assign=True)
    return lambda: None


def frozen(block, path):
    module = block.get_submodule(path).requires_grad_(False)
    return lambda: module.requires_grad_(True)


NORMS, LAYERS = (nn.BatchNorm2d,), (nn.Conv2d, nn.Linear)
WEIGHTED = (*NORMS, *LAYERS)
ANY = (nn.Module,)
EDITS = {
    "hook on output": (ANY, hook("register_forward_hook", lambda m, i, o: 0.3 * o - 0.2)),
    "hook on input": (ANY, hook("register_forward_pre_hook", lambda m, i: (0.3 * i[0] - 0.2,))),
    "hook on gradients": (ANY, hook("register_full_backward_hook", halved)),
    "wrapper": (ANY, exchange(Wrapped)),
    "wrapper that keeps weight": (LAYERS, exchange(lambda old: Wrapped(old, keep=True))),
    "low rank": (LAYERS, exchange(LowRank)),
    "pruned": (WEIGHTED, pruned),
    "weight norm": (LAYERS, normed),
    "parameter assigned": (
        WEIGHTED,
        attribute("weight", lambda w: nn.Parameter(1.4 * w.detach())),
    ),
    "state assigned": (WEIGHTED, assigned),
    "frozen": (WEIGHTED, frozen),
    "group norm": (NORMS, exchange(lambda bn: nn.GroupNorm(2, bn.num_features).double())),
    "SyncBatchNorm": (NORMS, exchange(nn.SyncBatchNorm.convert_sync_batchnorm)),
    "no statistics": (NORMS, attribute("track_running_stats", lambda _: False)),
    "momentum": (NORMS, attribute("momentum", lambda _: 0.6)),
    "plain average": (NORMS, attribute("momentum", lambda _: None)),
    "another gate": ((nn.Sigmoid, nn.Hardsigmoid), exchange(lambda _: nn.Tanh())),
    "another activation": ((nn.ReLU, nn.Hardswish), exchange(lambda _: nn.ELU())),
}


def ours(name, path):
    return create_model(name).get_submodule(path)


def inserted():
    block = ours("resnet8_cifar", "layer2.0")
    insert_se(block, where="bn2", reduction=4, start="paper")
    return block


BLOCKS = {
    "ours, residual": lambda _: ours("se_resnet8_cifar", "layer1.0"),
    "ours, with downsampling": lambda _: ours("se_resnet8_cifar", "layer2.0"),
    "ours, inverted residual": lambda _: ours("mobilenet_v3_small", "layer1.0"),
    "inserted": lambda _: inserted(),
    "timm's": lambda world: world.timm.create_model("seresnet18").layer1[0],
    "torchvision's": lambda world: world.torchvision.models.mobilenet_v3_small().features[1],
}


def cases():
    """Block, edit and place in turn; modules are known by their place, as no block is made yet."""
    return [(block, edit) for block in BLOCKS for edit in EDITS]


@pytest.fixture(autouse=True)
def _every_tail_is_rewritten(monkeypatch):
    monkeypatch.setattr(rewrite, "_why_not", lambda t, whole: "")
    torch._dynamo.reset()


@pytest.mark.parametrize(("block", "edit"), cases(), ids=lambda v: v.replace(" ", "_"))
def test_an_edit_has_its_effect(block, edit, request):
    library = block.startswith(("timm", "torchvision"))
    plain = BLOCKS[block](request.getfixturevalue("world") if library else None).double()
    scramble(plain)
    kinds, change = EDITS[edit]
    paths = [p for p, m in plain.named_modules() if p and isinstance(m, kinds)]
    turn = cases().index((block, edit))
    for k, path in enumerate(paths):
        if (turn + k) % SAMPLE == 0:
            hold(plain, path, change, late=bool((turn + k) // SAMPLE % 2))


def hold(plain, path, change, late):
    plain = copy.deepcopy(plain)
    fast = copy.deepcopy(plain)
    report = accelerate(fast)
    channels = next(m.in_channels for m in plain.modules() if isinstance(m, nn.Conv2d))
    x = torch.randn(2, channels, 6, 6, dtype=torch.float64)
    if late:
        compare(fast, plain, x)
    undo = [change(m, path) for m in (plain, fast)]
    try:
        compare(fast, plain, x)
    except RefusedError:
        return
    for back in undo:
        back()
    compare(fast, plain, x)
    assert any("norm" in finding.found for finding in report.changed), report


class RefusedError(Exception):
    """The error of an edit that plain PyTorch refuses."""


def compare(fast, plain, x):
    for training in (True, False):
        try:
            wanted = outcome(plain, x, training)
        except RuntimeError as error:
            raise RefusedError from error
        found = outcome(fast, x, training)
        assert found.keys() == wanted.keys()
        for name in wanted:
            torch.testing.assert_close(found[name], wanted[name], rtol=1e-8, atol=1e-8, msg=name)


def outcome(model, x, training):
    model.train(training).zero_grad()
    y = model(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)).sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {"output": y.detach()} | gradients | {n: b.clone() for n, b in model.named_buffers()}


def test_it_would_notice():
    """A hook that is ignored changes the result."""
    plain = ours("se_resnet8_cifar", "layer1.0").double()
    fast = copy.deepcopy(plain)
    plain.se.fc1.register_forward_hook(lambda m, i, o: 0.3 * o - 0.2)
    with pytest.raises(AssertionError):
        compare(fast, plain, torch.randn(2, 16, 6, 6, dtype=torch.float64))
