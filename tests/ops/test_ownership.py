"""Only gradients that have no other reader are overwritten."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from senet import accelerate
from senet.fuse import rewrite
from senet.ops import activated, backend, tail
from senet.ops.ownership import is_last_read, is_ours, saves_as_is
from tests.models.agreement import scramble

pytestmark = pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))


class Watch(torch.autograd.Function):
    seen: list[bool]

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, dy):
        Watch.seen.append(is_ours(dy))
        return dy.clone()


@pytest.mark.parametrize(
    ("made", "ours"),
    [
        (lambda a, b, w: a @ w, [True]),
        (lambda a, b, w: a @ w + a, [True]),  # PyTorch has added two
        (lambda a, b, w: (a + b) @ w, [False, True]),  # one of them is the last
        (lambda a, b, w: a.view(-1) * 2, [False]),  # a view of what came
        (lambda a, b, w: a.sum(), [False]),  # one number, seen many times
    ],
)
def test_who_holds_a_gradient(made, ours):
    Watch.seen = []
    a, b, w = (torch.randn(4, 4, requires_grad=True) for _ in "abw")
    y = made(Watch.apply(a), Watch.apply(b), w)
    y.backward(torch.ones_like(y))
    assert Watch.seen == ours


class Keep(torch.autograd.Function):
    last: list[bool]

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        Keep.last.append(is_last_read(x))
        return 2 * x * dy


@pytest.mark.parametrize(
    ("made", "last"),
    [
        (lambda x: Keep.apply(x), [True]),
        (lambda x: Keep.apply(x) + Keep.apply(x), [False, True]),
        (lambda x: Keep.apply(x) + x.sin(), [True]),  # the sine has read it already
        (lambda x: x.sin() + Keep.apply(x), [False]),  # it will
        (lambda x: Keep.apply(x.exp()), [False]),  # the exponential function saves its result
        (lambda x: Keep.apply(x.view(-1)), [False]),  # a view
    ],
)
def test_who_reads_a_saved_map(made, last):
    Keep.last = []
    made(torch.randn(4, 4, requires_grad=True).neg()).sum().backward()
    assert Keep.last == last


def test_a_graph_that_is_kept_reads_again():
    Keep.last = []
    y = Keep.apply(torch.randn(4, 4, requires_grad=True).neg()).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert Keep.last == [False, True]


def test_hooks_may_keep_what_is_saved():
    assert saves_as_is()
    with torch.autograd.graph.save_on_cpu():
        assert not saves_as_is()


class Block(nn.Module):
    """A tail whose map is read in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.a, self.b, self.c = (nn.Conv2d(8, 8, 1, bias=False) for _ in "abc")
        self.n, self.m = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.kept: list[torch.Tensor] = []

    def forward(self, x):
        y = F.relu(self.n(self.a(x)) + x)
        if self.how == "returned":
            return self.b(y), y
        if self.how == "dead":  # the first output is in no loss
            return self.c(y), F.relu(self.m(self.b(x)) + y)
        if self.how == "hook":
            y.register_hook(self.kept.append)
        if self.how == "view":
            return (y.flatten(1),)
        if self.how == "summed":
            return (y + self.c(x),)
        z = F.relu(self.m(self.b(y)) + y)
        return ((self.c(z) if self.how == "deep" else z).mean((2, 3)),)


@pytest.mark.parametrize("how", ["inside", "deep", "returned", "dead", "hook", "view"])
def test_gradients_are_those_of_the_plain_network(how, monkeypatch):
    torch._dynamo.reset()
    spent, last = [], []
    for module in (tail, activated):
        monkeypatch.setattr(module, "is_ours", lambda dy: spent.append(is_ours(dy)) or spent[-1])
    monkeypatch.setattr(tail, "is_last_read", lambda x: last.append(is_last_read(x)) or last[-1])
    model = Block(how)
    scramble(model)
    fast = copy.deepcopy(model)
    accelerate(fast)
    results = []
    for network in (model, fast):
        x = torch.randn(3, 8, 6, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
        outputs = network(x)
        if how == "returned":
            outputs[1].retain_grad()
        sent = torch.randn(outputs[-1].shape, generator=torch.Generator().manual_seed(1))
        given = sent.clone()
        if how == "returned":
            (outputs[0] * 2).sum().backward(retain_graph=True)
        outputs[-1].backward(sent, retain_graph=True)
        outputs[-1].backward(sent)  # once more: nothing that was kept has changed
        assert torch.equal(sent, given)
        found = {"x": x.grad, **{n: p.grad for n, p in network.named_parameters()}}
        if how == "returned":
            found["y"] = outputs[1].grad
        results.append(found | {f"hook {k}": g for k, g in enumerate(network.kept)})
    plain, got = results
    assert plain.keys() == got.keys()
    for name, gradient in plain.items():
        if gradient is not None:
            torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=1e-5, msg=name)
    if how == "inside":
        assert any(spent)
        assert True in last
        assert False in last  # as long as the graph is kept


def test_the_gradient_of_a_sum_is_that_of_its_terms():
    torch._dynamo.reset()
    network = Block("summed")
    accelerate(network)
    (y,) = network(torch.randn(3, 8, 6, 6))
    y.register_hook(network.kept.append)
    sent = torch.randn(y.shape)
    (y * sent).sum().backward()
    assert torch.equal(network.kept[0], sent)


def test_the_gradients_of_two_readers_are_added_in_place():
    """PyTorch does so if nobody else refers to them, as a test of who does could come to do."""
    torch._dynamo.reset()
    network = Block("deep")
    accelerate(network)
    (y,) = network(torch.randn(3, 8, 6, 6))
    with profile(activities=[ProfilerActivity.CPU]) as run:
        y.sum().backward()
    found = [event.name for event in run.events() or ()]
    assert "aten::add_" in found
    assert "aten::add" not in found


def test_where_pytorch_does_not_tell_nothing_is_written_over(monkeypatch):
    monkeypatch.delattr(torch._C, "_storage_Use_Count")
    Watch.seen = []
    a = torch.randn(4, 4, requires_grad=True)
    (Watch.apply(a) @ a).sum().backward()
    assert Watch.seen == [False]


def test_the_graph_says_who_can_keep_a_gradient():
    graph = torch.fx.Graph()
    x, w = graph.placeholder("x"), graph.placeholder("w")
    y = graph.call_function(F.relu, (x,))
    t = rewrite.Tail(x, None, y)
    conv = graph.call_function(F.conv2d, (y, w))
    assert rewrite._may_spend_gradient(t)
    total = graph.call_function(torch.add, (y, conv))
    graph.call_function(F.relu, (total,))
    graph.call_function(F.batch_norm, (total, None, None))
    assert rewrite._may_spend_gradient(t)
    graph.output(total)
    assert not rewrite._may_spend_gradient(t)


def test_the_graph_says_who_else_reads_a_map():
    graph = torch.fx.Graph()
    x, w = graph.placeholder("x"), graph.placeholder("w")
    conv = graph.call_function(F.conv2d, (x, w))
    y = graph.call_function(F.relu, (conv,))
    assert rewrite._is_alone(rewrite.Tail(conv, None, y, chain=[y]))
    graph.call_function(torch.flatten, (conv, 1))
    assert not rewrite._is_alone(rewrite.Tail(conv, None, y, chain=[y]))
    assert not rewrite._is_alone(rewrite.Tail(x, None, conv, chain=[conv]))  # an input
