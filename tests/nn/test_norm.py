"""norm_act against the modules it stands for, over every manner of batch norm."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet import SqueezeExcitation, create_model
from senet.nn import EfficientChannelAttention, conv_norm_act, norm_act, norm_act_se
from senet.ops import activated, backend, fused
from tests.oracle import SHAKES, rounded, within_rule

OPTIONS = [
    {},
    {"momentum": 0.3},
    {"momentum": None},
    {"track_running_stats": False},
    {"affine": False},
    {"eps": 0.1},
]
ACTIVATIONS = [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish]
NATIVE = pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))


def plain(x, bn, se=None, shortcut=None, relu=True):
    with backend.use("eager"):
        return norm_act(x, bn, se, shortcut, relu)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_manner_of_batch_norm(options):
    bn = nn.BatchNorm2d(8, **options)
    other = copy.deepcopy(bn)
    for mode in (True, True, False, True):
        bn.train(mode)
        other.train(mode)
        x = torch.randn(4, 8, 5, 5) * 3 + 2
        torch.testing.assert_close(norm_act(x, bn), plain(x, other))
    for key, value in other.state_dict().items():
        torch.testing.assert_close(bn.state_dict()[key], value, msg=key)


def test_frozen_batch_norm_in_a_training_network():
    bn, se = nn.BatchNorm2d(8).eval(), SqueezeExcitation(8, 2)
    bn.requires_grad_(False)
    before = copy.deepcopy(bn.state_dict())
    x = torch.randn(4, 8, 5, 5, requires_grad=True)
    norm_act(x, bn, se, torch.randn(4, 8, 5, 5)).sum().backward()
    assert bn.weight.grad is None
    assert se.fc1.weight.grad is not None
    for key, value in bn.state_dict().items():
        assert torch.equal(value, before[key])


def plain_se(x, bn, activation, se=None):
    u = activation(bn(x))
    with backend.use("eager"):
        return u if se is None else se(u)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_manner_of_batch_norm_before_an_activation(activation, options):
    bn, se = nn.BatchNorm2d(8, **options), SqueezeExcitation(8, 2, activation=activation)
    other = copy.deepcopy(bn)
    for mode in (True, True, False, True):
        bn.train(mode)
        other.train(mode)
        x = torch.randn(4, 8, 5, 5) * 3 + 2
        y = norm_act_se(x, bn, activation(), se)
        torch.testing.assert_close(y, plain_se(x, other, activation(), se))
        y = norm_act_se(x, bn, activation(inplace=True))
        torch.testing.assert_close(y, plain_se(x, other, activation()))
    for key, value in other.state_dict().items():
        torch.testing.assert_close(bn.state_dict()[key], value, msg=key)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_every_parameter_after_an_activation(activation, training):
    modules = nn.ModuleList([nn.BatchNorm2d(8), activation(), SqueezeExcitation(8, 2)])
    modules.train(training)
    other = copy.deepcopy(modules)
    x, sent = torch.randn(4, 8, 5, 5), torch.randn(4, 8, 5, 5)
    found = []
    for form, (bn, act, se) in ((norm_act_se, modules), (plain_se, other)):
        leaf = x.clone().requires_grad_()
        form(leaf, bn, act, se).backward(sent)
        found.append([leaf.grad, *(p.grad for p in (*bn.parameters(), *se.parameters()))])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@NATIVE
def test_what_the_passes_do_not_know_runs_as_itself(monkeypatch):
    """And what stands beside it still rides on them."""
    seen = []
    real = activated.norm_act_se
    monkeypatch.setattr(
        activated, "norm_act_se", lambda *a: seen.append((a[2], a[3] is not None)) or real(*a)
    )
    x, bn, se = torch.randn(2, 8, 5, 5), nn.BatchNorm2d(8), SqueezeExcitation(8, 2)
    eca = EfficientChannelAttention(8)

    def check(activation, attention, *taken):
        torch.testing.assert_close(
            norm_act_se(x, bn, activation, attention), plain_se(x, bn, activation, attention)
        )
        assert seen == list(taken), (activation, attention, seen)
        seen.clear()

    class Other(nn.SiLU):
        pass

    check(nn.SiLU(), se, ("silu", True))
    check(nn.SiLU(), eca, ("silu", False))
    check(nn.SiLU(), SqueezeExcitation(8, 2, squeeze="max"), ("silu", False))
    check(nn.ELU(), se)
    check(Other(), se)
    check(nn.Identity(), None)
    watched, calls = nn.SiLU(), []
    watched.register_forward_hook(lambda module, inputs, output: calls.append(module))
    check(watched, se)
    assert len(calls) == 2
    se.gate.register_forward_hook(lambda module, inputs, output: calls.append(module))
    check(nn.SiLU(), se, ("silu", False))
    assert len(calls) == 4
    bn.register_forward_hook(lambda module, inputs, output: calls.append(module))
    check(nn.SiLU(), eca)
    assert len(calls) == 6


def test_a_norm_that_was_folded_before_an_activation():
    x, se = torch.randn(2, 8, 5, 5), SqueezeExcitation(8, 2)
    for training in (True, False):
        y = norm_act_se(x, nn.Identity().train(training), nn.SiLU(), se)
        torch.testing.assert_close(y, se(F.silu(x)))


@NATIVE
def test_a_relu_by_itself_recomputes_what_it_let_through(monkeypatch):
    """Its backward then reads two maps, not three."""
    calls = []
    real = activated.norm_act_se
    monkeypatch.setattr(activated, "norm_act_se", lambda *a: calls.append(a[2]) or real(*a))
    x, bn = torch.randn(2, 8, 5, 5), nn.BatchNorm2d(8)
    norm_act(x, bn), norm_act(x, bn, relu=False), norm_act(x, bn, None, x)
    assert calls == ["relu"]


@NATIVE
def test_an_activated_unit_compiles_without_a_graph_break():
    bn, se, act = nn.BatchNorm2d(8), SqueezeExcitation(8, 2, activation=nn.SiLU), nn.SiLU()
    other = copy.deepcopy(bn)
    x = torch.randn(4, 8, 5, 5, requires_grad=True)
    compiled = torch.compile(norm_act_se, fullgraph=True, backend="aot_eager")
    y, wanted = compiled(x, bn, act, se), norm_act_se(x, other, act, se)
    torch.testing.assert_close(y, wanted)
    (got,) = torch.autograd.grad(y.square().sum(), x)
    torch.testing.assert_close(got, torch.autograd.grad(wanted.square().sum(), x)[0])
    for a, b in zip(bn.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_one_two_and_three_dimensions(dimensions):
    bn = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1](6)
    se = SqueezeExcitation(6, 2)
    x = torch.randn(3, 6, *(4,) * dimensions)
    torch.testing.assert_close(norm_act(x, bn, se, x), plain(x, copy.deepcopy(bn), se, x))


def test_a_folded_norm_is_left_out():
    se = SqueezeExcitation(8, 2)
    x, shortcut = torch.randn(2, 8, 5, 5), torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(norm_act(x, nn.Identity(), se, shortcut), F.relu(se(x) + shortcut))


def test_a_norm_of_another_kind_runs_as_itself():
    class Doubling(nn.BatchNorm2d):
        def forward(self, input):
            return 2 * super().forward(input)

    x = torch.randn(2, 8, 5, 5)
    bn = Doubling(8)
    torch.testing.assert_close(norm_act(x, bn), F.relu(copy.deepcopy(bn)(x)))
    group = nn.GroupNorm(2, 8)
    torch.testing.assert_close(norm_act(x, group), F.relu(group(x)))


def test_a_shortcut_that_broadcasts_or_promotes_is_added_as_pytorch_adds():
    bn = nn.BatchNorm2d(8).eval()
    x = torch.randn(2, 8, 5, 5)
    for shortcut in (torch.randn(1, 8, 1, 1), torch.randn(2, 8, 5, 5, dtype=torch.float64)):
        y = norm_act(x, bn, None, shortcut)
        torch.testing.assert_close(y, F.relu(bn(x) + shortcut))


def test_hooks_of_the_norm_are_called():
    bn, seen = nn.BatchNorm2d(8), []
    bn.register_forward_hook(lambda m, i, o: seen.append(o))
    norm_act(torch.randn(2, 8, 5, 5), bn)
    assert len(seen) == 1


def test_gradients_of_gradients_inside_eager():
    bn, se = nn.BatchNorm2d(8), SqueezeExcitation(8, 2)
    x = torch.randn(2, 8, 3, 3, requires_grad=True)
    with backend.use("eager"):
        y = norm_act(x, bn, se, x)
        (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    first.square().sum().backward()
    assert x.grad is not None


def train(model, steps=10):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(steps, 16, 3, 16, 16, generator=generator).to(model.fc.weight.dtype)
    labels = torch.randint(4, (steps, 16), generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for images, target in zip(x, labels, strict=True):
        loss = F.cross_entropy(model(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("type_", [torch.float32, torch.bfloat16], ids=str)
def test_the_squeeze_before_a_pointwise_convolution(layout, bias, type_, monkeypatch):
    """As good as the plain form, by the rule; and taken where it pays, only there."""
    calls = []
    real = fused.mean_after
    monkeypatch.setattr(fused, "mean_after", lambda *a: calls.append(1) or real(*a))
    conv, bn = nn.Conv2d(8, 32, 1, bias=bias), nn.BatchNorm2d(32).eval()
    bn.running_mean.normal_(10)
    se, h = SqueezeExcitation(32, 4), torch.randn(2, 8, 9, 9).to(type_)
    h = h.contiguous(memory_format=layout)
    shortcut = torch.randn(2, 32, 9, 9).to(type_)

    def truth():
        exact = [copy.deepcopy(m).double() for m in (conv, bn, se)]
        return plain(exact[0](h.double()), *exact[1:], shortcut.double())

    conv = conv.to(type_)
    with torch.no_grad():
        y = conv_norm_act(h, conv, bn, se, shortcut)
        assert len(calls) == (0 if backend.missing("native") else 1)
        other = plain(conv(h), bn, copy.deepcopy(se).to(type_), shortcut)
        assert within_rule(y, other, truth(), type_) is None
        conv_norm_act(h[:, :, :1, :1], conv, bn, se, shortcut[:, :, :1, :1])
    conv_norm_act(h, conv, bn, se, shortcut)  # gradients are wanted: the usual way
    assert len(calls) <= 1


@NATIVE
def test_ten_steps_of_training_are_the_same_fused_and_plain():
    model = create_model("se_resnet20_cifar", num_classes=4)
    exact = copy.deepcopy(model).double()
    with backend.use("eager"):
        in_eager = train(copy.deepcopy(model))
        truth, *shaken = (train(m) for m in (exact, *map(shaken_copy, [exact] * SHAKES)))
    losses = train(model)
    assert losses[-1] < losses[0]
    assert within_rule(losses, in_eager, truth, torch.float32, shaken) is None


def shaken_copy(model: nn.Module) -> nn.Module:
    """A copy whose every weight is moved by one rounding of float32: what that does grows."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for value in moved.parameters():
            value.copy_(rounded(value, torch.float32))
    return moved


@NATIVE
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_whole_network_compiles_without_a_graph_break(training):
    model = create_model("se_resnet8_cifar").train(training)
    other = copy.deepcopy(model)
    x = torch.randn(4, 3, 32, 32)
    y = torch.compile(model, fullgraph=True, backend="aot_eager")(x)
    wanted = other(x)
    torch.testing.assert_close(y, wanted)
    y.square().mean().backward()
    wanted.square().mean().backward()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-5)
    for p, q in zip(model.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(p, q)


def test_functional_call_and_its_gradients():
    from torch.func import functional_call, grad

    model = create_model("se_resnet8_cifar").eval()
    x, state = torch.randn(2, 3, 16, 16), dict(model.named_parameters())
    torch.testing.assert_close(functional_call(model, state, x), model(x))
    gradients = grad(lambda p: functional_call(model, p, x).square().sum())(state)
    model(x).square().sum().backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-3, atol=1e-4)


def test_a_network_exports_as_plain_pytorch():
    model = create_model("se_resnet8_cifar").eval()
    x = torch.randn(2, 3, 32, 32)
    program = torch.export.export(model, (x,))
    assert not any("senet" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_map_that_somebody_holds_is_not_overwritten():
    x, shortcut = torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4)
    held = []
    bn = nn.BatchNorm2d(8)
    bn.register_forward_hook(lambda module, inputs, output: held.append(output))
    norm_act(x, bn, None, shortcut)
    assert held[0].min() < 0
    before = x.clone()
    with backend.use("eager"):
        norm_act(x, nn.Identity(), None, shortcut)
    assert torch.equal(x, before)


@NATIVE
def test_small_maps_take_the_modules_and_large_ones_the_passes(monkeypatch):
    x = torch.randn(1, 16, 8, 8)
    bn, se = nn.BatchNorm2d(16), SqueezeExcitation(16)
    for name in ("LEAST", "LEAST_WITHOUT_SE"):
        monkeypatch.setattr(backend, name, x.numel() + 1)
    calls = []
    for module, name in ((fused, "norm_act"), (activated, "norm_act_se")):
        monkeypatch.setattr(module, name, lambda *a, **k: calls.append(a) or (x, None, None))
    norm_act(x, bn), norm_act(x, bn, se), se(x)
    assert not calls
    monkeypatch.setattr(backend, "LEAST", x.numel())
    norm_act(x, bn)
    assert not calls
    norm_act(x, bn, se), se(x)
    assert len(calls) == 2
    monkeypatch.setattr(backend, "LEAST", x.numel() + 1)
    with backend.use("native"):
        norm_act(x, bn), norm_act(x, bn, se)
    assert len(calls) == 4
