"""SE after an activation: the fused form against the plain one, by the rule of ``oracle.py``."""

from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F

from senet.ops import backend, fused, passes, reference
from senet.ops.activated import norm_act_se
from senet.ops.activation import ACTIVATIONS
from senet.ops.excitation import GATES, Excitation
from senet.ops.norm import Norm
from tests.oracle import check

BACKENDS = [name for name in backend.NAMES if not backend.missing(name)]
if not torch.cuda.is_available():
    BACKENDS = [name for name in BACKENDS if name != "triton"]  # see test_triton.py

TYPES = [torch.float32, torch.bfloat16, torch.float16]
CORNERS = {"relu": (0,), "relu6": (0, 6), "silu": (), "hardswish": (-3, 3)}


class Unit:
    """Norm, activation and SE on one shape: the inputs, the plain form and the fused form."""

    def __init__(
        self,
        activation="silu",
        shape=(3, 19, 5, 7),
        training=True,
        *,
        norm=True,
        se=True,
        gate="sigmoid",
        inner="relu",
        kind="normal",
        layout="last",
        type_=torch.float32,
    ):
        self.activation, self.norm, self.se = activation, norm, se
        self.training, self.gate, self.inner, self.type = training, gate, inner, type_
        channels, reduced = shape[1], max(shape[1] // 4, 1)
        x = {
            "normal": lambda: 2 * torch.randn(shape),
            "offset": lambda: torch.randn(shape) + 100,
            "constant": lambda: torch.full(shape, 0.75),
            "huge": lambda: torch.randn(shape) * 1e4,
        }[kind]()
        self.mean = torch.randn(channels) * 0.1 + x.mean()
        self.var = torch.rand(channels) + 0.5
        self.parameters = {}
        if norm:  # so wide that the corners are reached
            self.parameters["weight"] = torch.rand(channels) * 2 + 1.5
            self.parameters["bias"] = torch.randn(channels)
        if se:
            self.parameters |= {
                "w1": torch.randn(reduced, channels) / channels**0.5,
                "b1": torch.randn(reduced),
                "w2": torch.randn(channels, reduced) / reduced**0.5,
                "b2": torch.randn(channels),
            }
        x = self._off_the_corners(x.to(type_))
        if layout == "last":
            x = x.movedim(1, -1).contiguous().movedim(-1, 1)
        self.maps = {"x": x}

    def _off_the_corners(self, x):
        """``x`` with nothing so near a corner that rounding decides on which side of it u is."""
        for _ in range(100):
            u = self.normed({"x": x.double()} | self.exact())
            near = sum(((u - c).abs() < 1e-3 for c in CORNERS[self.activation]), 0 * u) > 0
            if not near.any():
                return x
            x = torch.where(near, x + 0.1 * x.float().std().to(x.dtype), x)
        raise AssertionError("something is always near a corner")

    def exact(self):
        return {k: v.double() for k, v in self.parameters.items()}

    def running(self, type_=torch.float32):
        """Mean and variance where they are constants, or nothing where the batch decides them."""
        return (None, None) if self.training else (self.mean.to(type_), self.var.to(type_))

    def normed(self, v):
        if not self.norm:
            return v["x"]
        running = self.running(v["weight"].dtype)
        return F.batch_norm(v["x"], *running, v["weight"], v["bias"], self.training, eps=1e-5)

    def plain(self, v):
        y = getattr(F, self.activation)(self.normed(v))
        if self.se:
            layers = [v[k].to(y.dtype) for k in ("w1", "b1", "w2", "b2")]
            δ, gate = ACTIVATIONS[self.inner].function, GATES[self.gate].function
            s = reference.excite(reference.squeeze(y), *layers, activation=δ, gate=gate)
            y = reference.scale(y, s)
        return y

    def fused(self, v):
        norm = se = None
        if self.norm:
            norm = Norm(v["weight"], v["bias"], *self.running(self.mean.dtype))
        if self.se:
            layers = (v[k] for k in ("w1", "b1", "w2", "b2"))
            se = Excitation(*layers, self.gate, self.inner)
        return norm_act_se(v["x"], norm, self.activation, se)[0]

    def check(self):
        check(self.fused, self.plain, self.maps, self.parameters, self.type)

    def leaves(self):
        return {
            k: v.detach().clone().requires_grad_() for k, v in (self.maps | self.parameters).items()
        }


@pytest.fixture(params=BACKENDS, autouse=True)
def _backend(request):
    """The backend, and the device that it runs on: new tensors are made there."""
    there = torch.device("cuda") if request.param == "triton" else nullcontext()
    with backend.use(request.param), there:
        yield


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("layout", ["last", "first"])
@pytest.mark.parametrize("type_", TYPES, ids=str)
@pytest.mark.parametrize("se", [True, False], ids=["SE", "no SE"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_type_layout_and_mode(activation, se, type_, layout, training):
    Unit(activation, training=training, se=se, layout=layout, type_=type_).check()


@pytest.mark.parametrize(
    "shape",
    [(6, 16, 1, 1), (1, 16, 7, 7), (2, 19, 13, 17), (2, 8, 56, 56), (3, 1, 5, 5), (4, 12, 33),
     (2, 6, 4, 5, 3)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("se", [True, False], ids=["SE", "no SE"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_every_shape(se, shape, training):
    for layout in ("last", "first"):
        Unit("silu", shape, training, se=se, layout=layout).check()


@pytest.mark.parametrize("kind", ["offset", "constant", "huge"])
@pytest.mark.parametrize("type_", TYPES, ids=str)
@pytest.mark.parametrize("activation", ["silu", "hardswish"])
def test_hard_values(activation, kind, type_):
    Unit(activation, (3, 8, 7, 7), kind=kind, type_=type_).check()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_huge_values_in_evaluation(activation):
    """Where every activation is flat or straight, and no exponential fits a float."""
    Unit(activation, (3, 8, 7, 7), False, kind="huge").check()


@pytest.mark.parametrize("se", [True, False], ids=["SE", "no SE"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_without_a_norm(activation, se):
    Unit(activation, (3, 8, 7, 7), norm=False, se=se).check()


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("inner", ACTIVATIONS)
def test_every_gate_and_every_activation_inside(gate, inner):
    Unit("silu", (3, 8, 7, 7), gate=gate, inner=inner).check()


@pytest.mark.parametrize("inner", ["silu", "hardswish"])
def test_the_activation_inside_a_block_after_the_norm(inner):
    """What :mod:`senet.ops.fused` has of the excitation that it shares."""
    unit = Unit("silu", (3, 8, 7, 7), inner=inner)

    def plain(v):
        layers = [v[k].to(v["x"].dtype) for k in ("w1", "b1", "w2", "b2")]
        δ, u = ACTIVATIONS[inner].function, unit.normed(v)
        return reference.scale(u, reference.excite(reference.squeeze(u), *layers, activation=δ))

    def fast(v):
        se = Excitation(*(v[k] for k in ("w1", "b1", "w2", "b2")), activation=inner)
        return fused.norm_act(v["x"], Norm(v["weight"], v["bias"]), se, relu=False)[0]

    check(fast, plain, unit.maps, unit.parameters, torch.float32)


def test_an_empty_batch_passes_through():
    unit = Unit(training=False)
    for se in (True, False):
        unit.se = se
        v = {"x": torch.randn(0, 19, 5, 7, requires_grad=True)} | unit.parameters
        y = unit.fused(v)
        assert y.shape == (0, 19, 5, 7)
        y.sum().backward()


def test_the_output_has_the_layout_of_the_input():
    for layout in ("last", "first"):
        unit = Unit(layout=layout)
        assert unit.fused(unit.maps | unit.parameters).stride() == unit.maps["x"].stride()


def test_odd_layouts():
    unit = Unit(shape=(3, 8, 6, 6))
    unit.maps["x"] = torch.randn(3, 8, 12, 6)[:, :, ::2]
    unit.check()


def test_the_statistics_of_the_batch():
    unit = Unit(kind="offset")
    x = unit.maps["x"]
    _, mean, var = norm_act_se(x, Norm(None, None), "silu")
    torch.testing.assert_close(mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(var, x.var((0, 2, 3)))
    _, mean, var = norm_act_se(x, Norm(None, None, unit.mean, unit.var), "silu")
    assert mean is None
    assert var is None


def test_the_map_is_kept_once_and_nothing_else_of_its_size():
    unit = Unit(shape=(3, 8, 20, 20))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        v = unit.leaves()
        unit.fused(v)
    large = [t for t in kept if t.numel() >= v["x"].numel()]
    assert [t.data_ptr() for t in large] == [v["x"].data_ptr()]


def test_a_second_backward_pass_is_refused_with_the_remedy():
    unit = Unit()
    v = unit.leaves()
    (first,) = torch.autograd.grad(unit.fused(v).sum(), v["x"], create_graph=True)
    with pytest.raises(RuntimeError, match=r'backend.use\("eager"\)'):
        first.square().sum().backward()


def test_one_value_a_channel_has_no_statistics():
    with pytest.raises(ValueError, match="more than one value a channel"):
        norm_act_se(torch.randn(1, 4, 1, 1), Norm(None, None), "silu")


def test_a_gradient_that_nobody_needs_is_not_computed(monkeypatch):
    """Frozen norm without SE: no reading pass. A map that is data: no writing pass."""
    calls = []
    for name in ("grad_pooled", "grad_activate"):
        real = getattr(passes, name)
        monkeypatch.setattr(
            passes, name, lambda *a, name=name, real=real: calls.append(name) or real(*a)
        )
    unit = Unit(training=False, se=False)
    v = {**unit.maps, **unit.parameters}
    v["x"].requires_grad_()
    unit.fused(v).sum().backward()
    assert calls == ["grad_activate"]
    assert v["weight"].grad is None
    calls.clear()
    v = {**unit.leaves(), "x": unit.maps["x"].detach()}
    unit.fused(v).sum().backward()
    assert calls == ["grad_pooled"]
    assert v["weight"].grad is not None


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
def test_autocast_leaves_the_small_algebra_in_full_precision(amp):
    unit = Unit(type_=amp)
    v = unit.maps | unit.parameters
    with torch.autocast(torch.get_default_device().type, amp):
        inside = unit.fused(v)
    assert inside.dtype == amp
    assert torch.equal(inside, unit.fused(v))


def test_checkpointing_gives_the_same_gradients():
    from torch.utils.checkpoint import checkpoint

    unit, grads = Unit(), []
    for run in (lambda f, v: f(v), lambda f, v: checkpoint(f, v, use_reentrant=False)):
        v = unit.leaves()
        run(unit.fused, v).square().sum().backward()
        grads.append([t.grad for t in v.values()])
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("se", [True, False], ids=["SE", "no SE"])
def test_compiles_in_one_graph(se):
    unit = Unit(shape=(3, 8, 5, 7), se=se)

    def step(v):
        y = unit.fused(v)
        return y, torch.autograd.grad(y.square().sum(), list(v.values()))

    torch.compiler.reset()
    compiled = torch.compile(unit.fused, fullgraph=True, backend="aot_eager")
    v = unit.leaves()
    y = compiled(v)
    got = [y, *torch.autograd.grad(y.square().sum(), list(v.values()))]
    wanted_y, wanted = step(unit.leaves())
    for a, b in zip(got, [wanted_y, *wanted], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("se", [True, False], ids=["SE", "no SE"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_algebra_by_finite_differences(activation, training, se):
    with backend.use("eager"):  # float64
        unit = Unit(activation, (3, 6, 3, 2), training, se=se, inner="silu", layout="first")
        inputs = {k: t.double().requires_grad_() for k, t in (unit.maps | unit.parameters).items()}
        unit.mean, unit.var = unit.mean.double(), unit.var.double()
        names = list(inputs)
        assert torch.autograd.gradcheck(
            lambda *values: unit.fused(dict(zip(names, values, strict=True))), list(inputs.values())
        )
