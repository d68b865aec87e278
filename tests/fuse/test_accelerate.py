"""Networks of users on the passes: the same results, gradients, keys and behaviour."""

import copy
import io
import pickle
import re
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet import SqueezeExcitation, accelerate, create_model
from senet.fuse import rewrite
from senet.graph import capture
from senet.graph.capture import as_written
from senet.ops import backend
from tests.fuse.blocks import Block, Tutorial, results, small
from tests.models.agreement import scramble
from tests.oracle import within_rule

pytestmark = pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))


@pytest.fixture(autouse=True)
def _no_captures():
    torch._dynamo.reset()


def close(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        atol = 1e-5 + 1e-6 * wanted[name].abs().max().item()  # a sum of large numbers may be near 0
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=atol, msg=name)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_results_are_within_the_rule(training):
    model = small().train(training)
    fast = copy.deepcopy(model)
    report = accelerate(fast)
    exact = copy.deepcopy(model).double()
    x = torch.randn(4, 3, 19, 19)
    nudged = [x.double() * (1 + torch.finfo(x.dtype).eps * s) for s in (-1, 1)]
    shaken = [results(copy.deepcopy(exact), moved) for moved in nudged]
    plain, fused, truth = results(model, x), results(fast, x), results(exact, x.double())
    for name in truth:
        wrong = within_rule(
            fused[name], plain[name], truth[name], torch.float32, [s[name] for s in shaken]
        )
        assert wrong is None, (name, wrong)
    assert len(report.changed) == 3


def test_the_report_says_what_was_found():
    report = accelerate(model := small())
    assert "when it is called" in str(report)
    assert accelerate(model, torch.randn(2, 3, 9, 9)) is report
    assert [(f.path, f.found) for f in report.changed] == [
        ("", "norm + ReLU"),
        ("3", "norm + SE + shortcut + ReLU"),
        ("4", "norm + SE + shortcut + ReLU"),
    ]
    assert "1 graph: 3 changed, 0 left alone" in str(report)
    assert all(m.training for m in model.modules())
    assert model[1].num_batches_tracked == 0


def test_small_maps_are_left_alone_with_the_reason(monkeypatch):
    monkeypatch.setattr(backend, "LEAST", 10**6)
    report = accelerate(model := small())
    model(torch.randn(2, 3, 9, 9))
    assert len(report.changed) == 1
    model(torch.randn(2, 3, 11, 11))  # from the second on, sizes are symbols
    reason = r"its map of \(2, 16, \d+, \d+\) is too small to gain"
    assert all(re.fullmatch(reason, finding.why) for finding in report.left_alone)


def test_in_inference_a_tail_with_a_usual_gate_is_one_call_on_maps_of_any_size(monkeypatch):
    monkeypatch.setattr(backend, "LEAST", 10**6)
    report = accelerate(small(), torch.randn(2, 3, 9, 9))
    assert len(report.changed) == 3


def test_nothing_about_the_network_changes():
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    keys, parameters = list(model.state_dict()), list(model.parameters())
    classes = [type(m) for m in model.modules()]
    accelerate(model)
    model(torch.randn(2, 3, 9, 9)).sum().backward()
    assert list(model.state_dict()) == keys
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert [type(m) for m in model.modules()] == classes
    before = model[3].se.fc[0].weight.clone()
    optimizer.step()
    assert not torch.equal(model[3].se.fc[0].weight, before)


def test_undo_makes_it_plain_again():
    model, x = small(), torch.randn(2, 3, 9, 9)
    report = accelerate(model, x)
    with as_written(model):
        model(x)
    assert accelerate(model) is report
    accelerate(model, undo=True)
    model(x)
    assert report.captures == 1


def test_copies_and_pickles_are_the_network():
    model, x = small().eval(), torch.randn(2, 3, 9, 9)
    report = accelerate(model, x)
    wanted = model(x)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(again[3]) is Block
        torch.testing.assert_close(again(x), wanted)
    torch.save(model.state_dict(), buffer := io.BytesIO())
    buffer.seek(0)
    small().load_state_dict(torch.load(buffer, weights_only=True))
    assert report.model is model
    assert accelerate(model, inplace=False).model is not model


def test_replicas_on_other_devices_are_refused():
    accelerate(model := small().eval())
    replica = model._replicate_for_data_parallel()  # as nn.DataParallel does
    with pytest.raises(ValueError, match=r"on meta and the network on cpu.*DataParallel"):
        replica(torch.empty(2, 3, 9, 9, device="meta"))


def test_a_compiled_network_is_the_same_thing():
    model, x = small(), torch.randn(4, 3, 19, 19)
    wanted = results(copy.deepcopy(model), x)
    model.compile(backend="senet")
    close(results(model, x), wanted)
    model[1].register_forward_hook(lambda *args: 2 * args[2])  # seen, though others overlook it
    torch.testing.assert_close(model(x), model._call_impl(x))


@pytest.mark.slow
def test_the_rest_may_go_to_inductor():
    model, x = nn.Sequential(Tutorial(16), nn.BatchNorm2d(16), nn.ReLU()), torch.randn(2, 16, 5, 5)
    wanted = results(copy.deepcopy(model), x)
    report = accelerate(model, options={"rest": "inductor"})
    close(results(model, x), wanted)
    assert len(report.changed) == 2
    accelerate(other := small(), options={"rest": "fast"})
    with pytest.raises(Exception, match="rest must be one of"):
        other(torch.randn(2, 3, 9, 9))


@pytest.mark.parametrize("tool", ["jit.trace", "jit.script", "fx", "export", "compile", "func"])
def test_other_tools_see_the_network_itself(tool):
    model, x = create_model("se_resnet8_cifar").eval(), torch.randn(2, 3, 32, 32)
    wanted = model(x).detach()
    accelerate(model, x)
    if tool == "jit.trace":
        got = torch.jit.trace(model, x)(x)
    elif tool == "jit.script":
        got = torch.jit.script(model)(x)
    elif tool == "fx":
        got = torch.fx.symbolic_trace(nn.Sequential(model))(x)
    elif tool == "export":
        got = torch.export.export(model, (x,)).module()(x)
    elif tool == "compile":
        got = torch.compile(model, backend="aot_eager", fullgraph=True)(x)
    else:
        state = dict(model.named_parameters()) | dict(model.named_buffers())
        got = torch.func.vmap(lambda one: torch.func.functional_call(model, state, one[None])[0])(x)
    torch.testing.assert_close(got.detach(), wanted, rtol=1e-4, atol=1e-5)


def test_forward_mode_derivatives():
    model, x, v = small().eval(), torch.randn(2, 3, 9, 9), torch.randn(2, 3, 9, 9)
    _, wanted = torch.func.jvp(model, (x,), (v,))
    accelerate(model, x)
    torch.testing.assert_close(torch.func.jvp(model, (x,), (v,))[1], wanted)
    with torch.autograd.forward_ad.dual_level():
        y = model(torch.autograd.forward_ad.make_dual(x, v))
        got = torch.autograd.forward_ad.unpack_dual(y).tangent
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_gradients_of_gradients():
    model, x = small(), torch.randn(4, 3, 19, 19)
    twin = copy.deepcopy(model)
    accelerate(model)

    def penalty(net):
        z = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(net(z).square().mean(), z, create_graph=True)
        return torch.autograd.grad(g.square().sum(), list(net.parameters()), allow_unused=True)

    for ours, theirs in zip(penalty(model), penalty(twin), strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_batched_gradients():
    model, x = small().eval(), torch.randn(2, 3, 9, 9, requires_grad=True)
    twin = copy.deepcopy(model)
    accelerate(model)
    sent = torch.randn(3, *twin(x).shape)
    got, wanted = (
        torch.autograd.grad(m(x), x, sent, is_grads_batched=True)[0] for m in (model, twin)
    )
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_autocast():
    model, x = small(), torch.randn(4, 3, 19, 19)
    twin, exact = copy.deepcopy(model), copy.deepcopy(model).double()
    report = accelerate(model)
    truth = exact(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        got, plain = model(x), twin(x)
    assert got.dtype == plain.dtype == torch.bfloat16
    assert len(report.changed) == 3
    assert (got - truth).abs().max() <= 2 * (plain - truth).abs().max()


def test_checkpointed_parts_keep_nothing():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(Block() for _ in range(4))

        def forward(self, x):
            for block in self.blocks:
                x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
            return x

    def kept(model, x):
        numbers = []
        hooks = torch.autograd.graph.saved_tensors_hooks
        with hooks(lambda t: numbers.append(t.numel()) or t, lambda t: t):
            y = model(x)
        y.square().sum().backward()
        return sum(numbers)

    model, x = Checkpointed(), torch.randn(2, 16, 19, 19)
    twin = copy.deepcopy(model)
    report = accelerate(model)
    assert kept(model, x) <= kept(twin, x)
    assert len(report.changed) == 4
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4, msg=name)


def test_a_checkpointed_norm_may_count_its_batches():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)
            self.last = nn.Conv2d(4, 4, 1)

        def inside(self, x):
            return torch.relu(self.bn(self.conv(x)) + x)

        def forward(self, x):
            again = torch.utils.checkpoint.checkpoint
            return self.last(again(self.inside, x, use_reentrant=False))

    model, x = Counting(), torch.randn(3, 4, 5, 5)
    wanted = results(copy.deepcopy(model), x)
    report = accelerate(model)
    close(results(model, x), wanted)  # the count too
    assert len(report.changed) == 1


@pytest.mark.parametrize("kind", ["random", "input", "mode", "count"])
def test_control_flow_goes_on_being_run(kind):
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn, self.calls = nn.BatchNorm2d(3), 0

        def forward(self, x):
            self.calls += 1
            skip = {
                "random": torch.rand(()) < 0.5,
                "input": bool(x.sum() > 0),
                "mode": self.training,
                "count": self.calls % 2 == 0,
            }[kind]
            return x if skip else F.relu(self.bn(x) + x)

    model = nn.Sequential(Moody()).eval()
    twin = copy.deepcopy(model)
    accelerate(model)
    for seed in range(6):
        x = torch.randn(2, 3, 4, 4)
        for m in (model, twin):
            m.train(seed % 3 == 0)
        torch.manual_seed(seed)
        wanted = twin(x)
        torch.manual_seed(seed)
        torch.testing.assert_close(model(x), wanted)


def test_a_script_module_is_refused():
    scripted = torch.jit.trace(Block().eval(), torch.randn(1, 16, 5, 5))
    with pytest.raises(ValueError, match="is compiled"):
        accelerate(scripted)
    model, x = nn.Sequential(Block(), scripted, Block()).eval(), torch.randn(1, 16, 5, 5)
    wanted = model(x).detach()
    report = accelerate(model)
    torch.testing.assert_close(model(x).detach(), wanted, rtol=1e-4, atol=1e-5)
    assert [f.path for f in report.changed] == ["0", "2"]


@pytest.mark.slow
def test_modes_sizes_and_networks_in_one_process():
    networks = [nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()) for _ in range(20)]
    reports = [accelerate(network) for network in networks]

    def run_all():
        for network in networks:
            for batch, side in ((2, 8), (3, 8), (4, 6)):
                x = torch.randn(batch, 3, side, side)
                network.train()(x).sum().backward()
                network.eval()(x)
                with torch.no_grad():
                    network(x)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_all()
        first = [report.captures for report in reports]
        run_all()
    assert [report.captures for report in reports] == first
    assert max(first) <= 9
    assert all(report.graphs == 1 for report in reports)


def test_another_batch_size_costs_one_more_capture():
    model = small()
    report = accelerate(model)
    for batch in (2, 3, 4, 5, 6):
        model(torch.randn(batch, 3, 9, 9))
    assert report.captures == 2


def test_the_limit_of_captures_is_said(monkeypatch):
    monkeypatch.setattr(capture, "LIMIT", 3)
    monkeypatch.setattr("senet.fuse.accelerate.LIMIT", 3)
    model = small()
    accelerate(model)
    x = torch.randn(2, 3, 9, 9)
    with pytest.warns(UserWarning, match="was captured 3 times"):
        hook_and_run(model, x, times=6)


def hook_and_run(model, x, times):
    for k in range(times):
        model[1].register_forward_hook(lambda *_, k=k: None)
        wanted = as_it_is(model, x)
        torch.testing.assert_close(model.eval()(x), wanted)


def as_it_is(model, x):
    with as_written(model):
        return model.eval()(x)


def test_eight_threads_on_one_network():
    model = small().eval()
    accelerate(model)
    inputs = [torch.randn(1 + k % 3, 3, 9, 9) for k in range(8)]
    wanted = [as_it_is(model, x) for x in inputs]
    found: list = [None] * 8

    def work(k):
        with torch.no_grad():
            for _ in range(3):
                found[k] = model(inputs[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_without_dynamo_it_stays_plain():
    model, x = small().eval(), torch.randn(2, 3, 9, 9)
    wanted = model(x)
    with torch._dynamo.config.patch(disable=True):
        report = accelerate(model, x)
    assert "stays plain PyTorch: TorchDynamo is disabled" in str(report)
    torch.testing.assert_close(model(x), wanted)


class TwoInputs(nn.Module):
    """Its second input decides what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x, shortcut=None):
        return F.relu(self.bn(x) + (x if shortcut is None else shortcut))


def test_other_inputs_are_not_lost():
    block, x, other = TwoInputs().eval(), torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    wanted = block(x), block(x, other), block(x, shortcut=other)
    accelerate(block)
    torch.testing.assert_close((block(x), block(x, other), block(x, shortcut=other)), wanted)


class Inverted(nn.Module):
    """The middle of an inverted residual block, with the activation before SE."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.norm = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.activation, self.se = activation, Tutorial(8)

    def forward(self, x):
        return self.se(self.activation(self.norm(x)))


@pytest.mark.parametrize("activation", [nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU])
def test_an_activation_before_se(activation):
    model, x = nn.Sequential(Inverted(activation())), torch.randn(3, 8, 7, 7)
    wanted = results(copy.deepcopy(model), x)
    report = accelerate(model)
    close(results(model, x), wanted)
    known = activation is not nn.GELU
    assert [f.found for f in report.changed] == [
        f"norm + {activation.__name__} + SE" if known else "SE"
    ]


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


@pytest.mark.parametrize("swapped", [False, True])
def test_a_tail_may_be_the_shortcut_of_another(swapped):
    model = nn.Sequential(nn.Conv2d(3, 8, 1), TwoTails(swapped))
    x = torch.randn(3, 3, 7, 7)
    wanted = results(copy.deepcopy(model), x)
    report = accelerate(model)
    close(results(model, x), wanted)  # its buffers too: no norm runs twice
    assert len(report.changed) == 2


def test_our_own_networks_run_on_the_passes():
    report = accelerate(create_model("se_resnet8_cifar"), torch.randn(2, 3, 32, 32))
    found = [f.found for f in report.changed]
    assert found.count("norm + SE + shortcut + ReLU") == 3
    assert found.count("norm + ReLU") == 4


@pytest.mark.parametrize("gradients", [False, True])
def test_in_inference_gates_may_be_known_before_the_last_convolution(monkeypatch, gradients):
    calls = []
    real = rewrite.mean_after
    monkeypatch.setattr(rewrite, "mean_after", lambda *a: calls.append(a) or real(*a))
    model = nn.Sequential(nn.Conv2d(4, 16, 1), nn.BatchNorm2d(16), Tutorial(16)).eval()
    scramble(model)
    x = torch.randn(2, 4, 9, 9)
    wanted = model(x).detach()
    accelerate(model)
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(model(x).detach(), wanted, rtol=1e-4, atol=1e-5)
    assert len(calls) == (not gradients)


class Kept(nn.Module):
    """A norm whose map is an input, is read again, or has no other reader."""

    def __init__(self, of: str):
        super().__init__()
        self.of, self.conv, self.norm = of, nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x):
        u = x if self.of == "caller" else self.conv(x)
        y = self.norm(u).relu()
        return y + u.sum() if self.of == "twice" else y


@pytest.mark.parametrize(
    ("of", "overwritten"), [("caller", False), ("twice", False), ("nobody", True)]
)
@pytest.mark.parametrize("grad", [False, True], ids=["inference", "with gradients"])
def test_a_map_is_written_over_where_nobody_else_reads_it(of, overwritten, grad, monkeypatch):
    seen = []
    real = rewrite.activated
    monkeypatch.setattr(rewrite, "activated", lambda *a: seen.append(a[-1]) or real(*a))
    model, x = Kept(of).eval(), torch.randn(2, 8, 6, 6)
    before = x.clone()
    with torch.set_grad_enabled(grad):
        wanted = model(x)
        accelerate(model)
        torch.testing.assert_close(model(x), wanted)
    assert torch.equal(x, before)
    assert seen == [overwritten and not grad]


class Switched(nn.Module):
    """A network that switches gradients on or off itself."""

    def __init__(self, on: bool):
        super().__init__()
        self.on, self.inner = on, small()

    def forward(self, x):
        with torch.set_grad_enabled(self.on):
            return self.inner(x)


@pytest.mark.parametrize("on", [False, True])
def test_gradients_may_be_switched_inside(on):
    model, x = Switched(on).eval(), torch.randn(2, 3, 19, 19)
    fast = copy.deepcopy(model)
    report = accelerate(fast)
    with torch.set_grad_enabled(not on):
        outputs = model(x), fast(x)
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
    assert report.changed
    assert all(y.requires_grad == on for y in outputs)
    if on:
        for y in outputs:
            y.sum().backward()
        wanted = {name: p.grad for name, p in model.named_parameters()}
        close({name: p.grad for name, p in fast.named_parameters()}, wanted)


class Shuffled(nn.Module):
    """A gate that puts channels or images into another order."""

    def __init__(self, images):
        super().__init__()
        self.fc1, self.fc2, self.images = nn.Linear(8, 8), nn.Linear(8, 8), images

    def forward(self, x):
        z, reversed_ = x.mean((2, 3)), torch.arange(7, -1, -1)
        z = z[reversed_] if self.images else z[:, reversed_]
        return x * self.fc2(self.fc1(z).relu()).sigmoid()[:, :, None, None]


@pytest.mark.parametrize("images", [False, True])
def test_a_gate_may_change_the_order(images):
    model, x = Shuffled(images), torch.randn(8, 8, 1, 1).expand(8, 8, 5, 5)
    with torch.no_grad():
        wanted = model(x)
        accelerate(model)
        torch.testing.assert_close(model(x), wanted)


class Spelled(nn.Module):
    """A gate whose layer is a function, with its arguments spelled out."""

    def __init__(self, padding):
        super().__init__()
        self.padding, self.weight = padding, nn.Parameter(torch.randn(8, 8, 1, 1))

    def forward(self, x):
        z = x.mean((2, 3), keepdim=True)
        return x * F.conv2d(z, self.weight, None, 1, self.padding, 1, 1)[:, :, :1, :1].sigmoid()


@pytest.mark.parametrize(("padding", "linear"), [(0, True), ((0, 0), True), (1, False)])
def test_a_layer_that_is_a_function_is_linear_where_it_is_not_padded(padding, linear, monkeypatch):
    calls = []
    real = rewrite.pointwise
    monkeypatch.setattr(rewrite, "pointwise", lambda *a: calls.append(a) or real(*a))
    model, x = Spelled(padding), torch.randn(3, 8, 5, 5)
    wanted = model(x)
    accelerate(model)
    torch.testing.assert_close(model(x), wanted)
    assert bool(calls) == linear


def test_the_layers_of_a_gate_are_linear_for_more_than_one_image(monkeypatch):
    calls = []
    real = rewrite.pointwise
    monkeypatch.setattr(rewrite, "pointwise", lambda *a: calls.append(a) or real(*a))
    model = nn.Sequential(nn.Conv2d(3, 16, 1), SqueezeExcitation(16)).eval()
    for images, layers in ((1, 0), (3, 2)):
        torch._dynamo.reset()
        x = torch.randn(images, 3, 5, 5)
        wanted = model(x)
        accelerate(model)
        torch.testing.assert_close(model(x), wanted)
        accelerate(model, undo=True)
        assert len(calls) == layers


def test_the_example_of_a_network_of_two_inputs_is_a_tuple():
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(16)

        def forward(self, x, shortcut):
            return (self.bn(x) + shortcut).relu()

    example = (torch.randn(8, 16, 64, 64), torch.randn(8, 16, 64, 64))
    model = Sum().eval()
    expected = model(*example)
    assert len(accelerate(model, example).changed) == 1
    torch.testing.assert_close(model(*example), expected)
