"""Other people's networks on the passes: the same results, gradients, keys and behaviour."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet import create_model
from senet.ops import backend
from senet.surgery import accelerate
from senet.surgery.graph import UntraceableError, trace
from senet.surgery.recognise import se_layers
from tests.models.agreement import scramble
from tests.oracle import within_rule

NATIVE = pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))


class Block(nn.Module):
    """A residual block as anybody may write it, its SE block the tutorial's."""

    def __init__(self, channels: int = 16, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.se = Tutorial(channels)
        self.project = nn.Sequential(
            nn.Conv2d(channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x):
        return F.relu(self.se(self.bn(self.conv(x))) + self.project(x))


class Tutorial(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 4, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels // 4, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        return x * self.fc(self.pool(x).view(b, c)).view(b, c, 1, 1).expand_as(x)


def small() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), Block(), Block(stride=2)
    )
    scramble(model)
    return model


def results(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The output and every gradient."""
    x = x.clone().requires_grad_()
    y = model(x)
    (y * torch.arange(y.numel()).to(y).reshape(y.shape).cos()).sum().backward()
    found = {"output": y.detach(), "gradient of x": x.grad}
    return found | {name: p.grad for name, p in model.named_parameters()}


@NATIVE
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_results_are_within_the_rule(training):
    model = small().train(training)
    fast = accelerate(model, inplace=False).model
    exact = copy.deepcopy(model).double()
    x = torch.randn(4, 3, 19, 19)
    plain, fused, truth = results(model, x), results(fast, x), results(exact, x.double())
    nudged = [x.double() * (1 + torch.finfo(x.dtype).eps * s) for s in (-1, 1)]
    shaken = []
    for moved in nudged:
        again = copy.deepcopy(exact)
        again.zero_grad()
        shaken.append(results(again, moved))
    for name in truth:
        wrong = within_rule(
            fused[name], plain[name], truth[name], torch.float32, [s[name] for s in shaken]
        )
        assert wrong is None, (name, wrong)


def test_the_report_says_what_was_found():
    report = accelerate(small())
    assert [(f.path, f.found) for f in report.changed] == [
        ("3.se", "SE"),
        ("4.se", "SE"),
        ("", "norm + ReLU"),
        ("3", "norm + SE + shortcut + ReLU"),
        ("4", "norm + SE + shortcut + ReLU"),
    ]
    assert "5 changed, 0 left alone" in str(report)


def test_nothing_changes_but_the_classes():
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state, parameters = model.state_dict(), list(model.parameters())
    accelerate(model)
    assert list(model.state_dict()) == list(state)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert isinstance(model[3], Block)
    model(torch.randn(2, 3, 9, 9)).sum().backward()
    before = model[3].se.fc[0].weight.clone()
    optimizer.step()
    assert not torch.equal(model[3].se.fc[0].weight, before)


def test_twice_is_once_and_undo_gives_it_back():
    model = small()
    classes = [type(m) for m in model.modules()]
    accelerate(model)
    fast = [type(m) for m in model.modules()]
    assert fast != classes
    assert not accelerate(model).changed
    assert [type(m) for m in model.modules()] == fast
    assert len(accelerate(model, undo=True).changed) == 5
    assert [type(m) for m in model.modules()] == classes


@NATIVE
def test_the_passes_run(monkeypatch):
    from senet.ops import activated, fused

    calls = []
    for module, name in ((activated, "norm_act_se"), (fused, "norm_act")):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, real=real, **k: calls.append(a) or real(*a, **k)
        )
    model = accelerate(small()).model
    model(torch.randn(2, 3, 9, 9))
    stem, *blocks = calls
    assert stem[2:] == ("relu", None)
    assert len(blocks) == 2
    assert all(block[2] is not None for block in blocks)  # SE is inside


def test_hooks_on_what_is_passed_over_still_run():
    model = accelerate(small()).model
    seen = []
    model[3].bn.register_forward_hook(lambda *_: seen.append("bn"))
    model[3].se.fc.register_forward_hook(lambda *_: seen.append("fc"))
    x = torch.randn(2, 3, 9, 9)
    watched = model(x)
    assert seen == ["bn", "fc"]
    torch.testing.assert_close(watched, accelerate(model, undo=True).model(x))


def test_copies_are_accelerated_and_pickles_are_plain():
    model = accelerate(small()).model.eval()
    x = torch.randn(2, 3, 9, 9)
    assert type(copy.deepcopy(model)[3]) is type(model[3])
    again = pickle.loads(pickle.dumps(model))
    assert type(again[3]) is Block
    torch.testing.assert_close(again(x), model(x))
    torch.save(model.state_dict(), buffer := io.BytesIO())
    buffer.seek(0)
    small().load_state_dict(torch.load(buffer, weights_only=True))


def test_it_compiles_and_exports():
    model = accelerate(small()).model.eval()
    x = torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        wanted = model(x)
        torch.testing.assert_close(torch.compile(model, fullgraph=True)(x), wanted)
        torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), wanted)


def test_tracing_counts_nothing(world):
    model = world.timm.create_model("regnetx_002")  # its norms count batches in their own forward
    before = copy.deepcopy(model.state_dict())
    accelerate(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class TwoInputs(nn.Module):
    """Its second input decides what it does: traced with the default it would be another block."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x, shortcut=None):
        return F.relu(self.bn(x) + (x if shortcut is None else shortcut))


def test_an_input_that_was_not_traced_is_not_lost():
    block, x, other = TwoInputs().eval(), torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    wanted = block(x), block(x, other)
    accelerate(block)
    torch.testing.assert_close((block(x), block(x, other)), wanted)


class Moody(nn.Module):
    """Another network in training."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x):
        return F.relu(self.bn(x)) if self.training else self.bn(x)


class Choosy(Moody):
    """Its control flow depends on its input."""

    def forward(self, x):
        return F.relu(self.bn(x)) if x.sum() > 0 else x


@pytest.mark.parametrize(("kind", "why"), [(Moody, "in training"), (Choosy, "cannot be traced")])
def test_what_cannot_be_read_is_left_alone_with_the_reason(kind, why):
    report = accelerate(nn.Sequential(kind()))
    assert not report.changed
    assert why in report.left_alone[0].why


def test_a_script_module_is_left_alone_with_the_reason():
    scripted = torch.jit.trace(Block().eval(), torch.randn(1, 16, 5, 5))
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), nn.ReLU(), scripted)
    report = accelerate(model)
    assert [f.found for f in report.changed] == ["norm + ReLU"]
    assert "compiled" in report.left_alone[0].why
    assert model(torch.randn(1, 3, 5, 5)).shape == (1, 16, 5, 5)
    with pytest.raises(UntraceableError, match="ScriptModule"):
        trace(scripted)


def test_a_wrapped_network_is_refused():
    with pytest.raises(ValueError, match="wrapped in DataParallel"):
        accelerate(nn.DataParallel(small()))


def test_other_gates_are_no_se_block():
    class Spatial(Tutorial):
        def forward(self, x):
            return x * super().forward(x)

    assert se_layers(Tutorial(8)) is not None
    assert se_layers(Spatial(8)) is None
    assert se_layers(nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 8))) is None


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish])
def test_the_activation_between_the_layers_is_read(activation):
    se = Tutorial(8)
    se.fc[1] = activation()
    layers = se_layers(se)
    assert layers is not None
    assert layers.activation == activation.__name__.lower()
    se.fc[1] = nn.GELU()
    assert se_layers(se) is None


def test_one_layer_is_effective_se():
    class Effective(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Conv2d(8, 8, 1)

        def forward(self, x):
            return x * F.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))

    layers = se_layers(Effective())
    assert layers is not None
    assert (layers.paths, layers.gate) == (("fc",), "hardsigmoid")


class Inverted(nn.Module):
    """The middle of an inverted residual block, with the activation before SE."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.norm = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.activation, self.se = activation, Tutorial(8)

    def forward(self, x):
        return self.se(self.activation(self.norm(x)))


@NATIVE
@pytest.mark.parametrize("activation", [nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU])
def test_an_activation_before_se(activation):
    model = nn.Sequential(Inverted(activation()))
    fast = accelerate(model, inplace=False)
    known = activation is not nn.GELU
    whole = [f"norm + {activation.__name__} + SE"] if known else []
    assert [f.found for f in fast.changed] == ["SE", *whole]
    x = torch.randn(3, 8, 7, 7)
    found = results(fast.model, x)
    for name, wanted in results(model, x).items():
        torch.testing.assert_close(found[name], wanted, rtol=1e-4, atol=1e-5, msg=name)


class TwoTails(nn.Module):
    """The shortcut of one chain is the end of another, in either order."""

    def __init__(self, swapped: bool) -> None:
        super().__init__()
        self.a, self.b, self.se = nn.BatchNorm2d(8), nn.BatchNorm2d(8), Tutorial(8)
        self.relu, self.swapped = nn.ReLU(inplace=True), swapped

    def forward(self, x):
        if self.swapped:
            shortcut = self.b(x)
            return self.relu(shortcut + self.se(self.relu(self.a(x))))
        u = self.se(self.relu(self.a(x)))
        return self.relu(u + self.b(x))


@NATIVE
@pytest.mark.parametrize("swapped", [False, True])
def test_a_tail_may_be_the_shortcut_of_another(swapped):
    model = nn.Sequential(nn.Conv2d(3, 8, 1), TwoTails(swapped))
    fast = accelerate(model, inplace=False).model
    x = torch.randn(3, 3, 7, 7)
    found = results(fast, x)
    for name, wanted in results(model, x).items():
        torch.testing.assert_close(found[name], wanted, rtol=1e-4, atol=1e-5, msg=name)
    for name, wanted in model.named_buffers():  # no norm runs twice
        torch.testing.assert_close(fast.get_buffer(name), wanted, msg=name)


def test_who_is_named_like_se_is_told_why_it_is_left_alone():
    class SELayer(Tutorial):
        def forward(self, x):
            return super().forward(x) + x

    (left,) = accelerate(SELayer(8)).left_alone
    assert (left.found, left.why) == ("SELayer", "its forward is not that of SE")


def test_a_block_that_only_looks_like_se_is_found_out():
    class Sum(nn.Module):
        """The mean of the squares: the same calls but one."""

        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

        def forward(self, x):
            z = x.mean((2,), keepdim=True)[..., :1]
            return x * torch.sigmoid(self.fc2(F.relu(self.fc1(z))))

    assert se_layers(Sum()) is None


def test_our_own_networks_have_nothing_left_to_gain():
    report = accelerate(create_model("se_resnet8_cifar"))
    assert not report.changed
