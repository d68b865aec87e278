"""The pair with an activation, against plain PyTorch, by the rule of ``oracle.py``."""

from itertools import combinations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from senet.ops.activated import act_scale, act_squeeze
from senet.ops.activation import ACTIVATIONS
from senet.ops.norm import Norm
from tests.ops.parts import (
    BACKENDS,
    GATES,
    SHAPES,
    SMOOTH,
    TYPES,
    a_map,
    gradient,
    laid,
    mean,
    on,
    spy,
    times,
)
from tests.oracle import check, within_rule

CORNERS = {"relu": (0,), "relu6": (0, 6), "silu": (), "hardswish": (-3, 3)}


class Unit:
    """Norm, activation and gate on one shape: the inputs, the plain form, and it on the passes."""

    eps = 1e-5

    def __init__(
        self,
        activation="silu",
        shape=(3, 19, 5, 7),
        training=True,
        *,
        norm=True,
        gate="sigmoid",
        kind="normal",
        layout="last",
        type_=torch.float32,
    ):
        self.activation, self.norm, self.training, self.type = activation, norm, training, type_
        channels = shape[1]
        x = a_map(kind, shape, scale=2)
        self.mean = torch.randn(channels) * 0.1 + x.mean()
        self.var = torch.rand(channels) + 0.5
        self.parameters = {}
        if norm:  # so wide that the corners are reached
            self.parameters["weight"] = torch.rand(channels) * 2 + 1.5
            self.parameters["bias"] = torch.randn(channels)
        self.gate = GATES[gate].function if gate else None
        if gate:
            self.parameters |= GATES[gate].parameters(channels)
        self.maps = {"x": laid(self._off_the_corners(x.to(type_)), layout)}

    def _off_the_corners(self, x):
        """Return ``x`` without values of u so near a corner that rounding decides on their side."""
        exact = {k: v.double() for k, v in self.parameters.items()}
        for _ in range(100):
            u = self.normed({"x": x.double()} | exact)
            near = sum(((u - c).abs() < 1e-3 for c in CORNERS[self.activation]), 0 * u) > 0
            if not near.any():
                return x
            x = torch.where(near, x + 0.1 * x.float().std().to(x.dtype), x)
        raise AssertionError("something is always near a corner")

    @property
    def inputs(self):
        return self.maps | self.parameters

    def leaves(self):
        return {k: v.detach().clone().requires_grad_() for k, v in self.inputs.items()}

    def constants(self, v):
        """Return the arguments of batch norm, without statistics if those of the batch count."""
        running = (None, None) if self.training else self.kept(v)
        return *running, v.get("weight"), v.get("bias"), self.training, 0.1, self.eps

    def kept(self, v):
        wide = torch.promote_types(v["x"].dtype, torch.float32)
        return self.mean.to(wide, copy=True), self.var.to(wide, copy=True)

    def normed(self, v):
        return F.batch_norm(v["x"], *self.constants(v)) if self.norm else v["x"]

    def activated(self, v):
        return getattr(F, self.activation)(self.normed(v))

    def plain(self, v):
        y = self.activated(v)
        return times(self.gate(mean(y), v), y) if self.gate else y

    def squeeze(self, v):
        norm = Norm(*self.constants(v)) if self.norm else None
        return act_squeeze(v["x"], norm, self.activation, bool(self.gate))

    def fast(self, v):
        h = self.squeeze(v)
        return act_scale(h, self.gate(h.z, v) if self.gate else None)

    def check(self, fast=None, plain=None):
        check(fast or self.fast, plain or self.plain, self.maps, self.parameters, self.type)


MODES = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
WITH_AND_WITHOUT = pytest.mark.parametrize("gate", ["sigmoid", None], ids=["SE", "no SE"])


@pytest.fixture(params=BACKENDS, autouse=True)
def _backend(request):
    with on(request.param):
        yield


@MODES
@pytest.mark.parametrize("layout", ["last", "first"])
@pytest.mark.parametrize("type_", TYPES, ids=str)
@WITH_AND_WITHOUT
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_type_layout_and_mode(activation, gate, type_, layout, training):
    Unit(activation, training=training, gate=gate, layout=layout, type_=type_).check()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@WITH_AND_WITHOUT
@MODES
def test_every_shape(gate, shape, training):
    for layout in ("last", "first"):
        Unit("silu", shape, training, gate=gate, layout=layout).check()


@pytest.mark.parametrize("kind", ["offset", "constant", "huge"])
@pytest.mark.parametrize("type_", TYPES, ids=str)
@pytest.mark.parametrize("activation", ["silu", "hardswish"])
def test_hard_values(activation, kind, type_):
    Unit(activation, (3, 8, 7, 7), kind=kind, type_=type_).check()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_huge_values_in_evaluation(activation):
    """Every activation is flat or linear there, and no exponential fits a float."""
    Unit(activation, (3, 8, 7, 7), False, kind="huge").check()


@WITH_AND_WITHOUT
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_without_a_norm(activation, gate):
    Unit(activation, (3, 8, 7, 7), norm=False, gate=gate).check()


@pytest.mark.parametrize("gate", GATES)
@MODES
def test_every_gate(gate, training):
    for activation in ("silu", "relu6"):
        Unit(activation, (8, 8, 7, 7), training, gate=gate).check()


@pytest.mark.parametrize("missing", ["weight", "bias", "weight bias"])
@MODES
def test_a_norm_without_weight_or_bias(missing, training):
    unit = Unit("silu", (3, 8, 7, 7), training)
    for name in missing.split():
        del unit.parameters[name]
    unit.check()


@pytest.mark.parametrize("momentum", [0.1, 0.3, 1.0])
def test_running_statistics(momentum):
    x = torch.randn(5, 8, 4, 3) * 2 + 7
    start = torch.randn(8), torch.rand(8) + 0.5
    ours, plains = ([r.clone() for r in start] for _ in range(2))
    truths = [r.double() for r in start]
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            norm = Norm(*ours, None, None, True, momentum)
            act_squeeze(x.clone().requires_grad_(), norm, "silu")
        F.batch_norm(x, *plains, None, None, True, momentum)
        F.batch_norm(x.double(), *truths, None, None, True, momentum)
    for mine, plain, truth in zip(ours, plains, truths, strict=True):
        assert not within_rule(mine, plain, truth, torch.float32)
    before = [r.clone() for r in ours]
    act_squeeze(x, Norm(*ours), "silu")
    assert all(torch.equal(a, b) for a, b in zip(ours, before, strict=True))


def test_an_empty_batch_passes_through():
    for gate in ("sigmoid", None):
        unit = Unit(training=False, gate=gate)
        v = unit.leaves() | {"x": torch.randn(0, 19, 5, 7, requires_grad=True)}
        y = unit.fast(v)
        assert y.shape == (0, 19, 5, 7)
        y.sum().backward()


def test_the_output_has_the_layout_of_the_input():
    for layout in ("last", "first"):
        unit = Unit(layout=layout)
        assert unit.fast(unit.inputs).stride() == unit.maps["x"].stride()


def test_odd_layouts():
    unit = Unit(shape=(3, 8, 6, 6))
    unit.maps["x"] = torch.randn(3, 8, 12, 6)[:, :, ::2]
    unit.check()


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        Unit("silu", (3, 40, 14, 14)).check()
    finally:
        torch.set_num_threads(before)


def test_one_value_a_channel_has_no_statistics():
    with pytest.raises(ValueError, match="more than one value per channel"):
        act_squeeze(torch.randn(1, 4, 1, 1), Norm(training=True), "silu")


def test_what_does_not_fit_is_refused():
    x = torch.randn(2, 4, 3, 3)
    with pytest.raises(ValueError, match=r"^activation: expected one of"):
        act_squeeze(x, None, "swish")
    with pytest.raises(ValueError, match=r"^s: expected \[2, 4\], one gate"):
        act_scale(act_squeeze(x, None, "silu"), torch.ones(2, 4, 1, 1))


# --- what is computed, and what is kept ---


@MODES
@WITH_AND_WITHOUT
@pytest.mark.parametrize("norm", [True, False], ids=["norm", "no norm"])
def test_the_output_is_the_same_without_gradients(norm, gate, training):
    unit = Unit(training=training, norm=norm, gate=gate)
    wanted = unit.fast(unit.leaves())
    assert wanted.requires_grad
    assert torch.equal(unit.fast(unit.inputs), wanted)
    with torch.no_grad():
        assert torch.equal(unit.fast(unit.leaves()), wanted)
    with torch.inference_mode():
        assert torch.equal(unit.fast(unit.inputs), wanted)


@MODES
@WITH_AND_WITHOUT
def test_every_choice_of_inputs_that_need_a_gradient(gate, training):
    """A gradient does not depend on which others are requested."""
    unit = Unit(shape=(3, 8, 5, 5), training=training, gate=gate)
    v, sent = unit.leaves(), torch.randn(3, 8, 5, 5)
    every = torch.autograd.grad(unit.fast(v), list(v.values()), sent)
    every = dict(zip(v, every, strict=True))
    parts = [["x"], ["weight"], ["bias"]]
    if gate:
        parts.append([k for k in unit.parameters if k not in ("weight", "bias")])
    for count in range(1, len(parts) + 1):
        for chosen in combinations(parts, count):
            names = [name for part in chosen for name in part]
            v = unit.inputs | {k: x for k, x in unit.leaves().items() if k in names}
            got = torch.autograd.grad(unit.fast(v), [v[k] for k in names], sent)
            for name, one in zip(names, got, strict=True):
                torch.testing.assert_close(one, every[name], msg=f"{name} of {names}")


def test_a_gradient_that_nobody_needs_is_not_computed(monkeypatch):
    """A map that is data needs no writing pass."""
    calls = spy(monkeypatch, "grad_pooled", "grad_activate")
    unit = Unit()
    unit.fast(unit.leaves()).sum().backward()
    assert calls == ["grad_pooled", "grad_activate"]
    calls.clear()
    unit.fast(unit.leaves() | {"x": unit.maps["x"]}).sum().backward()
    assert calls == ["grad_pooled"]
    calls.clear()
    with torch.no_grad():
        unit.fast(unit.leaves())
    assert not calls


@MODES
@WITH_AND_WITHOUT
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_map_is_kept_once_and_nothing_else_of_its_size(activation, gate, training):
    unit = Unit(activation, (3, 8, 20, 20), training, gate=gate)
    v, kept = unit.leaves(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        unit.fast(v)
    large = {t.data_ptr() for t in kept if t.numel() * 8 >= v["x"].numel()}
    assert large == {v["x"].data_ptr()}


@pytest.mark.parametrize("both", [False, True], ids=["z alone", "z and y"])
@MODES
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_loss_on_the_squeeze(activation, training, both):
    unit = Unit(activation, training=training)

    def fast(v):
        h = unit.squeeze(v)
        y = [act_scale(h, unit.gate(h.z, v)).flatten()] if both else []
        return torch.cat([h.z.flatten(), *y])

    def plain(v):
        z = mean(unit.activated(v)).flatten()
        return torch.cat([z, *([unit.plain(v).flatten()] if both else [])])

    unit.check(fast=fast, plain=plain)


@WITH_AND_WITHOUT
def test_a_graph_is_walked_twice(gate):
    unit = Unit(shape=(3, 8, 5, 5), gate=gate)
    v, sent = unit.leaves(), torch.randn(3, 8, 5, 5)
    y = unit.fast(v)
    first = torch.autograd.grad(y, list(v.values()), sent, retain_graph=True)
    again = torch.autograd.grad(y, list(v.values()), sent)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("of", [lambda form: form, gradient], ids=["first", "second"])
def test_evaluation_then_training_then_one_backward(of):
    """An update of the running statistics does not change a gradient."""
    unit = Unit(gate="SiLU inside")

    def fast(v):
        y, kept = 0, unit.kept(v)
        for training in (False, True):
            h = act_squeeze(v["x"], Norm(*kept, v["weight"], v["bias"], training), "silu")
            y = y + act_scale(h, unit.gate(h.z, v))
        return y

    def plain(v):
        y = 0
        for training in (False, True):  # PyTorch's backward reads what training made of `kept`
            u = F.batch_norm(v["x"], *unit.kept(v), v["weight"], v["bias"], training)
            y = y + times(unit.gate(mean(F.silu(u)), v), F.silu(u))
        return y

    unit.check(fast=of(fast), plain=of(plain))


@pytest.mark.parametrize("activation", ["relu", "relu6", "hardswish"])
def test_where_an_activation_is_flat_no_gradient_passes_were_it_infinite(activation):
    """Without a gate: with one, the infinity reaches the gradient of s."""
    unit = Unit(activation, gate=None)
    flat = unit.normed(unit.inputs) <= CORNERS[activation][0]
    v = unit.leaves()
    y = unit.fast(v)
    for value in (float("inf"), float("nan")):
        sent = torch.randn(y.shape).masked_fill(flat, value)
        got = torch.autograd.grad(y, list(v.values()), sent, retain_graph=True)
        assert all(g.isfinite().all() for g in got)


def test_the_square_root_of_a_relu():
    unit = Unit("relu", gate=None)
    unit.check(lambda v: unit.fast(v).sqrt(), lambda v: unit.plain(v).sqrt())


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
def test_autocast_leaves_the_small_algebra_in_full_precision(amp):
    unit = Unit(type_=amp, gate="sigmoid of z")
    with torch.autocast(torch.get_default_device().type, amp):
        inside = unit.fast(unit.inputs | {k: v.to(amp) for k, v in unit.maps.items()})
    assert inside.dtype == amp
    assert torch.equal(inside, unit.fast(unit.inputs))


@WITH_AND_WITHOUT
@pytest.mark.parametrize("type_", [torch.float32, torch.bfloat16], ids=str)
def test_autocast(gate, type_):
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        Unit(type_=type_, gate=gate).check()


def test_checkpointing_gives_the_same_gradients():
    unit, grads = Unit(), []
    for run in (lambda f, v: f(v), lambda f, v: checkpoint(f, v, use_reentrant=False)):
        v = unit.leaves()
        run(unit.fast, v).square().sum().backward()
        grads.append([t.grad for t in v.values()])
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)


@WITH_AND_WITHOUT
def test_compiles_in_one_graph(gate):
    unit, found = Unit(shape=(3, 8, 5, 7), gate=gate), []
    torch.compiler.reset()
    for form in (torch.compile(unit.fast, fullgraph=True, backend="aot_eager"), unit.fast):
        v = unit.leaves()
        y = form(v)
        found.append([y, *torch.autograd.grad(y.square().sum(), list(v.values()))])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


# --- second derivatives, and batches of first ones ---


@pytest.mark.parametrize("gate", [*SMOOTH, None])
@MODES
def test_products_with_the_hessian(training, gate):
    for activation in ("silu", "relu6"):
        unit = Unit(activation, (8, 8, 5, 5), training, gate=gate)
        unit.check(gradient(unit.fast), gradient(unit.plain))


@MODES
def test_a_penalty_on_the_gradient(training):
    unit = Unit("silu", (3, 8, 5, 5), training, gate="SiLU inside")
    fast, plain = gradient(unit.fast), gradient(unit.plain)
    unit.check(lambda v: fast(v).square().mean(), lambda v: plain(v).square().mean())


@WITH_AND_WITHOUT
@MODES
def test_batches_of_gradients(gate, training):
    unit = Unit(shape=(3, 8, 5, 5), training=training, gate=gate)
    v, sent = unit.leaves(), torch.randn(4, 3, 8, 5, 5)
    y = unit.fast(v)
    got = torch.autograd.grad(y, list(v.values()), sent, retain_graph=True, is_grads_batched=True)
    each = [torch.autograd.grad(y, list(v.values()), g, retain_graph=True) for g in sent]
    for name, batch, *wanted in zip(v, got, *each, strict=True):
        torch.testing.assert_close(batch, torch.stack(wanted), rtol=1e-4, atol=1e-5, msg=name)


@MODES
def test_a_large_eps(training):
    unit = Unit("silu", (3, 8, 5, 5), training, gate="SiLU inside")
    unit.eps = 0.3
    unit.check()
    unit.check(gradient(unit.fast), gradient(unit.plain))
