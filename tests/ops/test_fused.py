"""The fused form against the plain one, by the rule of ``tests/oracle.py``."""

from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F

from senet.ops import backend, fused, passes, reference
from tests.oracle import check

BACKENDS = [name for name in backend.NAMES if not backend.missing(name)]
if not torch.cuda.is_available():
    BACKENDS = [name for name in BACKENDS if name != "triton"]  # see test_triton.py

# Every row of the table of operations: has a norm, has SE, has a shortcut, ends in ReLU.
ROWS = {
    "norm + ReLU": (True, False, False, True),
    "norm": (True, False, False, False),
    "norm + shortcut + ReLU": (True, False, True, True),
    "norm + SE + shortcut + ReLU": (True, True, True, True),
    "norm + SE + shortcut": (True, True, True, False),
    "SE": (False, True, False, False),
    "SE + shortcut + ReLU": (False, True, True, True),
}
TYPES = [torch.float32, torch.bfloat16, torch.float16]


class Tail:
    """One row of the table on one shape: its inputs, its plain form and its fused form."""

    def __init__(self, row, shape, training=True, gate="sigmoid", kind="normal", layout="last"):
        self.norm, self.se, self.short, self.relu = ROWS[row]
        self.training, self.gate = training, gate
        channels, reduced = shape[1], max(shape[1] // 4, 1)
        x = {
            "normal": lambda: torch.randn(shape),
            "offset": lambda: torch.randn(shape) + 100,
            "constant": lambda: torch.full(shape, 0.75),
            "huge": lambda: torch.randn(shape) * 1e4,
        }[kind]()
        self.maps = {"x": x}
        if self.short:
            self.maps["shortcut"] = torch.randn(shape)
        if layout == "last":
            self.maps = {
                k: v.movedim(1, -1).contiguous().movedim(-1, 1) for k, v in self.maps.items()
            }
        self.parameters = {}
        if self.norm:
            self.parameters |= {
                "weight": torch.rand(channels) + 0.5,
                "bias": torch.randn(channels),
            }
        if self.se:
            self.parameters |= {
                "w1": torch.randn(reduced, channels) / channels**0.5,
                "b1": torch.randn(reduced),
                "w2": torch.randn(channels, reduced) / reduced**0.5,
                "b2": torch.randn(channels),
            }
        self.mean = torch.randn(channels) * 0.1 + x.mean()
        self.var = torch.rand(channels) + 0.5

    def running(self, type_=torch.float32):
        """Mean and variance where they are constants, or nothing where the batch decides them."""
        return (None, None) if self.training else (self.mean.to(type_), self.var.to(type_))

    def plain(self, v, relu=None):
        u = v["x"]
        if self.norm:
            running = self.running(v["weight"].dtype)
            u = F.batch_norm(u, *running, v["weight"], v["bias"], self.training, eps=1e-5)
        if self.se:
            layers = [v[k].to(u.dtype) for k in ("w1", "b1", "w2", "b2")]
            gate = fused.GATES[self.gate].function
            u = reference.scale(u, reference.excite(reference.squeeze(u), *layers, gate=gate))
        if self.short:
            u = u + v["shortcut"]
        return u.relu() if (self.relu if relu is None else relu) else u

    def fused(self, v):
        norm = se = None
        if self.norm:
            norm = fused.Norm(v["weight"], v["bias"], *self.running(self.mean.dtype))
        if self.se:
            se = fused.Excitation(*(v[k] for k in ("w1", "b1", "w2", "b2")), self.gate)
        return fused.norm_act(v["x"], norm, se, v.get("shortcut"), self.relu)[0]

    def check(self, type_):
        before = (lambda v: self.plain(v, relu=False)) if self.relu else None
        check(self.fused, self.plain, self.maps, self.parameters, type_, before)


def leaves(tail):
    return {k: v.clone().requires_grad_() for k, v in (tail.maps | tail.parameters).items()}


@pytest.fixture(params=BACKENDS, autouse=True)
def _backend(request):
    """The backend, and the device that it runs on: new tensors are made there."""
    there = torch.device("cuda") if request.param == "triton" else nullcontext()
    with backend.use(request.param), there:
        yield


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("layout", ["last", "first"])
@pytest.mark.parametrize("type_", TYPES, ids=str)
@pytest.mark.parametrize("row", ROWS)
def test_every_row_type_layout_and_mode(row, type_, layout, training):
    Tail(row, (3, 24, 7, 7), training, layout=layout).check(type_)


@pytest.mark.parametrize(
    "shape",
    [(6, 16, 1, 1), (1, 16, 7, 7), (2, 19, 13, 17), (2, 8, 56, 56), (3, 1, 5, 5), (4, 12, 33),
     (2, 6, 4, 5, 3)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("row", ["norm + SE + shortcut + ReLU", "SE", "norm + ReLU"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_every_shape(row, shape, training):
    for layout in ("last", "first"):
        Tail(row, shape, training, layout=layout).check(torch.float32)


@pytest.mark.parametrize("kind", ["offset", "constant", "huge"])
@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_hard_values(kind, type_):
    if kind == "constant":  # a variance of zero: gradients are of the size of 1/sqrt(eps)
        Tail("norm + SE + shortcut", (3, 8, 7, 7), kind=kind).check(type_)
    else:
        Tail("norm + SE + shortcut + ReLU", (3, 8, 7, 7), kind=kind).check(type_)


@pytest.mark.parametrize("gate", fused.GATES)
def test_every_gate(gate):
    Tail("norm + SE + shortcut + ReLU", (3, 8, 7, 7), gate=gate).check(torch.float32)


def test_an_empty_batch_passes_through():
    tail = Tail("SE + shortcut + ReLU", (0, 8, 7, 7))
    y = tail.fused(tail.maps | tail.parameters)
    assert y.shape == (0, 8, 7, 7)


def test_the_output_has_the_layout_of_the_input():
    for layout in ("last", "first"):
        tail = Tail("norm + SE + shortcut + ReLU", (3, 8, 7, 7), layout=layout)
        y = tail.fused(tail.maps | tail.parameters)
        assert y.stride() == tail.maps["x"].stride()


def test_maps_of_mixed_and_odd_layouts():
    tail = Tail("norm + SE + shortcut + ReLU", (3, 8, 6, 6))
    tail.maps["shortcut"] = tail.maps["shortcut"].contiguous()
    tail.check(torch.float32)
    tail.maps["x"] = torch.randn(3, 8, 12, 6)[:, :, ::2]
    tail.check(torch.float32)


def test_a_second_backward_pass_is_refused_with_the_remedy():
    tail = Tail("norm + SE + shortcut + ReLU", (3, 8, 5, 5))
    v = {k: t.requires_grad_() for k, t in (tail.maps | tail.parameters).items()}
    (first,) = torch.autograd.grad(tail.fused(v).sum(), v["x"], create_graph=True)
    with pytest.raises(RuntimeError, match=r'backend.use\("eager"\)'):
        first.square().sum().backward()


def test_one_value_a_channel_has_no_statistics():
    with pytest.raises(ValueError, match="more than one value a channel"):
        fused.norm_act(torch.randn(1, 4, 1, 1), fused.Norm(None, None))


def test_a_gradient_that_nobody_needs_is_not_computed(monkeypatch):
    """Frozen norm without SE: the reading pass of the backward is left out."""
    tail = Tail("norm + ReLU", (3, 8, 5, 5), training=False)
    calls = []
    real = passes.grad_moments
    monkeypatch.setattr(passes, "grad_moments", lambda *a: calls.append(1) or real(*a))
    v = {**tail.maps, **tail.parameters}
    v["x"].requires_grad_()
    tail.fused(v).sum().backward()
    assert not calls
    assert v["weight"].grad is None


def test_parameters_learn_where_the_map_is_frozen():
    tail = Tail("norm + SE + shortcut + ReLU", (3, 8, 5, 5))
    v = {**tail.maps, **{k: p.requires_grad_() for k, p in tail.parameters.items()}}
    sent = torch.randn(3, 8, 5, 5)
    got = torch.autograd.grad(tail.fused(v), list(tail.parameters.values()), sent)
    wanted = torch.autograd.grad(tail.plain(v), list(tail.parameters.values()), sent)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
def test_autocast_leaves_the_small_algebra_in_full_precision(amp):
    tail = Tail("norm + SE + shortcut + ReLU", (3, 8, 7, 7))
    v = {k: t.to(amp) for k, t in tail.maps.items()} | tail.parameters
    with torch.autocast(torch.get_default_device().type, amp):
        inside = tail.fused(v)
    assert inside.dtype == amp
    assert torch.equal(inside, tail.fused(v))


def test_checkpointing_gives_the_same_gradients():
    from torch.utils.checkpoint import checkpoint

    tail = Tail("norm + SE + shortcut + ReLU", (3, 8, 7, 7))
    grads = []
    for run in (lambda f, v: f(v), lambda f, v: checkpoint(f, v, use_reentrant=False)):
        v = {
            k: t.detach().clone().requires_grad_() for k, t in (tail.maps | tail.parameters).items()
        }
        run(tail.fused, v).square().sum().backward()
        grads.append([t.grad for t in v.values()])
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)


def test_the_same_inputs_give_the_same_bits():
    tail = Tail("norm + SE + shortcut + ReLU", (4, 40, 14, 14))
    runs = []
    for _ in range(3):
        v = {
            k: t.detach().clone().requires_grad_() for k, t in (tail.maps | tail.parameters).items()
        }
        y = tail.fused(v)
        y.square().sum().backward()
        runs.append([y, *(t.grad for t in v.values())])
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("gate", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_algebra_by_finite_differences(gate, training):
    with backend.use("eager"):  # float64
        tail = Tail("norm + SE + shortcut", (3, 6, 3, 2), training, gate, layout="first")
        inputs = {k: t.double().requires_grad_() for k, t in (tail.maps | tail.parameters).items()}
        tail.mean, tail.var = tail.mean.double(), tail.var.double()
        names = list(inputs)
        assert torch.autograd.gradcheck(
            lambda *values: tail.fused(dict(zip(names, values, strict=True))), list(inputs.values())
        )
