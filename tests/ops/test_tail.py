"""The pair of operations against plain PyTorch, by the rule of ``tests/oracle.py``."""

from itertools import combinations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from senet.ops.norm import Norm
from senet.ops.tail import mean_after, norm_scale, norm_squeeze
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

# Every tail: has a norm, has a gate, has a shortcut, ends in ReLU.
ROWS = {
    "norm": (True, False, False, False),
    "norm + ReLU": (True, False, False, True),
    "norm + shortcut": (True, False, True, False),
    "norm + shortcut + ReLU": (True, False, True, True),
    "norm + SE": (True, True, False, False),
    "norm + SE + shortcut": (True, True, True, False),
    "norm + SE + shortcut + ReLU": (True, True, True, True),
    "SE": (False, True, False, False),
    "SE + shortcut + ReLU": (False, True, True, True),
}
WHOLE = "norm + SE + shortcut + ReLU"


class Tail:
    """One row of the table on one shape: its inputs, its plain form, and it on the passes."""

    eps = 1e-5

    def __init__(self, row, shape, training=True, gate="sigmoid", kind="normal", layout="last"):
        self.norm, self.gate, self.short, self.relu = ROWS[row]
        self.training = training
        channels = shape[1]
        self.maps = {"x": laid(a_map(kind, shape), layout)}
        if self.short:
            self.maps["shortcut"] = laid(torch.randn(shape), layout)
        self.parameters = {}
        if self.norm:
            self.parameters |= {
                "weight": torch.rand(channels) + 0.5,
                "bias": torch.randn(channels),
            }
        if self.gate:
            self.gate = GATES[gate].function
            self.parameters |= GATES[gate].parameters(channels)
        self.mean = torch.randn(channels) * 0.1 + self.maps["x"].mean()
        self.var = torch.rand(channels) + 0.5

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

    def plain(self, v, relu=None):
        u = F.batch_norm(v["x"], *self.constants(v)) if self.norm else v["x"]
        if self.gate:
            u = times(self.gate(mean(u), v), u)
        if self.short:
            u = u + v["shortcut"]
        return u.relu() if (self.relu if relu is None else relu) else u

    def before_relu(self, v):
        return self.plain(v, relu=False)

    def squeeze(self, v):
        return norm_squeeze(
            v["x"], Norm(*self.constants(v)) if self.norm else None, bool(self.gate)
        )

    def fast(self, v):
        h = self.squeeze(v)
        s = self.gate(h.z, v) if self.gate else None
        return norm_scale(h, s, v.get("shortcut"), self.relu)

    def check(self, type_=torch.float32, fast=None, plain=None):
        before = self.before_relu if self.relu else None
        fast, plain = fast or self.fast, plain or self.plain
        check(fast, plain, self.maps, self.parameters, type_, before)


@pytest.fixture(params=BACKENDS, autouse=True)
def _backend(request):
    with on(request.param):
        yield


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("layout", ["last", "first"])
@pytest.mark.parametrize("type_", TYPES, ids=str)
@pytest.mark.parametrize("row", ROWS)
def test_every_row_type_layout_and_mode(row, type_, layout, training):
    Tail(row, (3, 24, 7, 7), training, layout=layout).check(type_)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("row", [WHOLE, "SE", "norm + ReLU"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_every_shape(row, shape, training):
    for layout in ("last", "first"):
        Tail(row, shape, training, layout=layout).check()


@pytest.mark.parametrize("kind", ["offset", "constant", "huge"])
@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_hard_values(kind, type_):
    # A variance of zero: gradients are of the size of 1/sqrt(eps), and where ReLU stands is chance.
    row = "norm + SE + shortcut" if kind == "constant" else WHOLE
    Tail(row, (3, 8, 7, 7), kind=kind).check(type_)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_every_gate(gate, training):
    Tail(WHOLE, (8, 8, 7, 7), training, gate=gate).check()
    Tail("SE", (8, 8, 7, 7), training, gate=gate).check()


@pytest.mark.parametrize("missing", ["weight", "bias", "weight bias"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_norm_without_weight_or_bias(missing, training):
    tail = Tail(WHOLE, (3, 8, 7, 7), training)
    for name in missing.split():
        del tail.parameters[name]
    tail.check()


@pytest.mark.parametrize("momentum", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_running_statistics(momentum, kept):
    x = torch.randn(5, 8, 4, 3) * 2 + 7
    start = torch.randn(8).to(kept), (torch.rand(8) + 0.5).to(kept)
    ours, plains, truths = ([r.clone() for r in start] for _ in range(3))
    if kept != torch.float32:  # PyTorch keeps them in the type of the map, or in float32
        plains = [r.float() for r in plains]
    truths = [r.double() for r in truths]
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            norm_squeeze(x.clone().requires_grad_(), Norm(*ours, None, None, True, momentum))
        F.batch_norm(x, *plains, None, None, True, momentum)
        F.batch_norm(x.double(), *truths, None, None, True, momentum)
    for mine, plain, truth in zip(ours, plains, truths, strict=True):
        assert mine.dtype == kept
        assert not within_rule(mine, plain.to(kept), truth, kept if kept.itemsize < 4 else x.dtype)


def test_infinite_running_statistics_stay_infinite():
    x, kept = torch.randn(5, 8, 4, 3), (torch.full((8,), -torch.inf), torch.full((8,), torch.inf))
    plain = [r.clone() for r in kept]
    norm_squeeze(x, Norm(*kept, training=True))
    F.batch_norm(x, *plain, training=True)
    assert all(torch.equal(a, b) for a, b in zip(kept, plain, strict=True))


def test_running_statistics_that_a_batch_norm_of_pytorch_keeps_for_its_backward():
    """It updates them without autograd noticing; so does the pair, and its backward still runs."""
    x, kept = torch.randn(5, 8, 4, 3, requires_grad=True), (torch.randn(8), torch.rand(8) + 0.5)
    y = F.batch_norm(x, *kept, None, None, training=True)
    y = y + norm_scale(norm_squeeze(x, Norm(*kept, training=True)))
    y = y + F.batch_norm(x, *kept, None, None, training=True)
    y.sum().backward()


def test_statistics_that_nobody_asked_to_move_stay():
    x, kept = torch.randn(5, 8, 4, 3), (torch.randn(8), torch.rand(8) + 0.5)
    before = [r.clone() for r in kept]
    norm_squeeze(x, Norm(*kept))
    assert all(torch.equal(a, b) for a, b in zip(kept, before, strict=True))


def test_where_no_statistics_are_kept_the_batch_decides_in_evaluation_too():
    x, norm = torch.randn(5, 8, 4, 3), Norm(weight=torch.rand(8), bias=torch.randn(8))
    y = norm_scale(norm_squeeze(x, norm))
    assert torch.equal(y, norm_scale(norm_squeeze(x, norm._replace(training=True))))


def test_an_empty_batch_passes_through():
    tail = Tail("SE + shortcut + ReLU", (0, 8, 7, 7))
    v = tail.leaves()
    y = tail.fast(v)
    assert y.shape == (0, 8, 7, 7)
    y.sum().backward()
    assert v["x"].grad.shape == y.shape


def test_the_output_has_the_layout_of_the_input():
    for layout in ("last", "first"):
        tail = Tail(WHOLE, (3, 8, 7, 7), layout=layout)
        assert tail.fast(tail.inputs).stride() == tail.maps["x"].stride()


def test_maps_of_mixed_and_odd_layouts():
    tail = Tail(WHOLE, (3, 8, 6, 6))
    tail.maps["shortcut"] = tail.maps["shortcut"].contiguous()
    tail.check()
    tail.maps["x"] = torch.randn(3, 8, 12, 6)[:, :, ::2]
    tail.check()


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        Tail(WHOLE, (3, 40, 14, 14)).check()
    finally:
        torch.set_num_threads(before)


def test_one_value_a_channel_has_no_statistics():
    with pytest.raises(ValueError, match="more than one value per channel"):
        norm_squeeze(torch.randn(1, 4, 1, 1), Norm(training=True))


def test_what_does_not_fit_is_refused():
    x = torch.randn(2, 4, 3, 3)
    with pytest.raises(ValueError, match=r"^shortcut: expected a map \[2, 4, 3, 3\]"):
        norm_scale(norm_squeeze(x, None), shortcut=x[:1])
    with pytest.raises(ValueError, match=r"^s: expected \[2, 4\], one gate"):
        norm_scale(norm_squeeze(x, None), torch.ones(2, 4, 1, 1))


@pytest.mark.parametrize("with_norm", [True, False], ids=["norm", "no norm"])
def test_the_mean_after_a_convolution_is_known_before_it_runs(with_norm):
    h, weight, bias = torch.randn(3, 5, 4, 4) + 3, torch.randn(8, 5), torch.randn(8)
    norm = Norm(torch.randn(8), torch.rand(8) + 0.5, torch.rand(8), torch.randn(8))
    norm = norm if with_norm else None

    def squeezed(h, weight, bias, norm):
        x = F.conv2d(h, weight[:, :, None, None], bias)
        return mean(F.batch_norm(x, *norm[:4]) if norm else x)

    with torch.no_grad():
        x = F.conv2d(h, weight[:, :, None, None], bias)
        fast = norm_squeeze(x, norm, mean=mean_after(h, weight, bias)).z
        double = Norm(*(t.double() for t in norm[:4])) if norm else None
        truth = squeezed(h.double(), weight.double(), bias.double(), double)
        assert not within_rule(fast, squeezed(h, weight, bias, norm), truth, torch.float32)
        assert mean_after(h.bfloat16(), weight, None).dtype == torch.float32


# --- what is computed, and what is kept ---


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("row", ROWS)
def test_the_output_is_the_same_without_gradients(row, training):
    tail = Tail(row, (3, 8, 5, 5), training)
    wanted = tail.fast(tail.leaves())
    assert wanted.requires_grad
    assert torch.equal(tail.fast(tail.inputs), wanted)
    with torch.no_grad():
        assert torch.equal(tail.fast(tail.leaves()), wanted)
    with torch.inference_mode():
        assert torch.equal(tail.fast(tail.inputs), wanted)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("row", [WHOLE, "SE", "norm + ReLU"])
def test_every_choice_of_inputs_that_need_a_gradient(row, training):
    """A gradient does not depend on which others are requested."""
    tail = Tail(row, (3, 8, 5, 5), training)
    v, sent = tail.leaves(), torch.randn(3, 8, 5, 5)
    every = torch.autograd.grad(tail.fast(v), list(v.values()), sent)
    every = dict(zip(v, every, strict=True))
    parts = [[k] for k in tail.inputs if k[0] not in "wb" or k in ("weight", "bias")]
    if tail.gate:
        parts.append([k for k in tail.parameters if k not in ("weight", "bias")])
    for count in range(1, len(parts) + 1):
        for chosen in combinations(parts, count):
            names = [name for part in chosen for name in part]
            v = tail.inputs | {k: x for k, x in tail.leaves().items() if k in names}
            got = torch.autograd.grad(tail.fast(v), [v[k] for k in names], sent)
            for name, one in zip(names, got, strict=True):
                torch.testing.assert_close(one, every[name], msg=f"{name} of {names}")


def test_a_gradient_that_nobody_needs_is_not_computed(monkeypatch):
    """A map that is data needs no writing pass."""
    calls = spy(monkeypatch, "grad_scale", "grad_affine")
    tail = Tail(WHOLE, (3, 8, 5, 5))
    tail.fast(tail.leaves()).sum().backward()
    assert calls == ["grad_scale", "grad_affine"]
    calls.clear()
    tail.fast(tail.leaves() | {"x": tail.maps["x"]}).sum().backward()
    assert calls == ["grad_scale"]
    calls.clear()
    with torch.no_grad():
        tail.fast(tail.leaves())
    assert not calls


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("row", ROWS)
def test_the_map_is_kept_and_the_output_of_a_relu_and_no_other_map(row, training):
    tail = Tail(row, (3, 8, 20, 20), training)
    v, kept = tail.leaves(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = tail.fast(v)
    large = {t.data_ptr() for t in kept if t.numel() * 8 >= y.numel()}
    assert large == {v["x"].data_ptr()} | ({y.data_ptr()} if tail.relu else set())


@pytest.mark.parametrize("both", [False, True], ids=["z alone", "z and y"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("row", ["norm + SE + shortcut", "SE"])
def test_a_loss_on_the_squeeze(row, training, both):
    tail = Tail(row, (3, 8, 5, 5), training)

    def fast(v):
        h = tail.squeeze(v)
        y = [norm_scale(h, tail.gate(h.z, v), v.get("shortcut")).flatten()] if both else []
        return torch.cat([h.z.flatten(), *y])

    def plain(v):
        u = F.batch_norm(v["x"], *tail.constants(v)) if tail.norm else v["x"]
        return torch.cat([mean(u).flatten(), *([tail.plain(v).flatten()] if both else [])])

    tail.check(fast=fast, plain=plain)


@pytest.mark.parametrize("row", [WHOLE, "SE", "norm + ReLU"])
def test_a_graph_is_walked_twice(row):
    tail = Tail(row, (3, 8, 5, 5))
    v, sent = tail.leaves(), torch.randn(3, 8, 5, 5)
    y = tail.fast(v)
    first = torch.autograd.grad(y, list(v.values()), sent, retain_graph=True)
    again = torch.autograd.grad(y, list(v.values()), sent)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("of", [lambda form: form, gradient], ids=["first", "second"])
def test_evaluation_then_training_then_one_backward(of):
    """An update of the running statistics does not change a gradient."""
    tail = Tail("norm + SE", (3, 8, 5, 5), gate="SiLU inside")

    def fast(v):
        y, kept = 0, tail.kept(v)
        for training in (False, True):
            h = norm_squeeze(v["x"], Norm(*kept, v["weight"], v["bias"], training))
            y = y + norm_scale(h, tail.gate(h.z, v))
        return y

    def plain(v):
        y = 0
        for training in (False, True):  # PyTorch's backward reads what training made of `kept`
            u = F.batch_norm(v["x"], *tail.kept(v), v["weight"], v["bias"], training)
            y = y + times(tail.gate(mean(u), v), u)
        return y

    tail.check(fast=of(fast), plain=of(plain))


@pytest.mark.parametrize("row", [WHOLE, "norm + ReLU", "SE + shortcut + ReLU"])
def test_where_a_relu_is_flat_no_gradient_passes_were_it_infinite(row):
    tail = Tail(row, (3, 8, 5, 5))
    tail.check(fast=lambda v: tail.fast(v).sqrt(), plain=lambda v: tail.plain(v).sqrt())
    v = tail.leaves()
    y = tail.fast(v)
    for flat in (float("inf"), float("nan")):
        sent = torch.randn(3, 8, 5, 5).masked_fill(y <= 0, flat)
        got = torch.autograd.grad(y, list(v.values()), sent, retain_graph=True)
        assert all(g.isfinite().all() for g in got)


def test_a_nan_reaches_the_output_and_the_gradients_as_in_pytorch():
    tail = Tail(WHOLE, (3, 8, 5, 5), training=False)
    tail.maps["x"][1, 2, 3, 3] = float("nan")
    found = []
    for form in (tail.fast, tail.plain):
        v = tail.leaves()
        y = form(v)
        found.append([y, *torch.autograd.grad(y.sum(), list(v.values()))])
    for fast, plain in zip(*found, strict=True):
        assert torch.equal(fast.isnan(), plain.isnan())


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
def test_autocast_leaves_the_small_algebra_in_full_precision(amp):
    tail = Tail(WHOLE, (3, 8, 7, 7), gate="sigmoid of z")
    v = {k: t.to(amp) for k, t in tail.maps.items()} | tail.parameters
    with torch.autocast(torch.get_default_device().type, amp):
        inside = tail.fast(v)
    assert inside.dtype == amp
    assert torch.equal(inside, tail.fast(v))


@pytest.mark.parametrize("row", [WHOLE, "SE"])
@pytest.mark.parametrize("type_", [torch.float32, torch.bfloat16], ids=str)
def test_autocast(row, type_):
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        Tail(row, (3, 8, 7, 7)).check(type_)


def test_checkpointing_gives_the_same_gradients():
    tail = Tail(WHOLE, (3, 8, 7, 7))
    grads = []
    for run in (lambda f, v: f(v), lambda f, v: checkpoint(f, v, use_reentrant=False)):
        v = tail.leaves()
        run(tail.fast, v).square().sum().backward()
        grads.append([t.grad for t in v.values()])
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)


def test_the_same_inputs_give_the_same_bits():
    tail = Tail(WHOLE, (4, 40, 14, 14))
    runs = []
    for _ in range(3):
        v = tail.leaves()
        y = tail.fast(v)
        y.square().sum().backward()
        runs.append([y, *(t.grad for t in v.values())])
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("row", [WHOLE, "SE"])
def test_compiles_in_one_graph(row):
    tail = Tail(row, (3, 8, 5, 7))
    found = []
    torch.compiler.reset()
    for form in (torch.compile(tail.fast, fullgraph=True, backend="aot_eager"), tail.fast):
        v = tail.leaves()
        y = form(v)
        found.append([y, *torch.autograd.grad(y.square().sum(), list(v.values()))])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


# --- second derivatives, and batches of first ones ---


def off_the_relu(tail):
    """Return 0 where rounding decides the side of the ReLU, else 1."""
    before = tail.before_relu({k: t.double() for k, t in tail.inputs.items()}).abs()
    return before > 0.1 * before.mean() if tail.relu else torch.ones_like(before) > 0


def check_second(tail, of=lambda g: g):
    """Check the gradients of a tail, or a function ``of`` them, and the gradients of these."""
    far = off_the_relu(tail)
    fast, plain = gradient(tail.fast, far), gradient(tail.plain, far)
    check(lambda v: of(fast(v)), lambda v: of(plain(v)), tail.maps, tail.parameters, torch.float32)


@pytest.mark.parametrize("gate", SMOOTH)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("row", [WHOLE, "SE", "norm + SE"])
def test_products_with_the_hessian(row, training, gate):
    check_second(Tail(row, (8, 8, 5, 5), training, gate))


@pytest.mark.parametrize("row", [row for row, (_, gate, *_) in ROWS.items() if not gate])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_products_with_the_hessian_without_a_gate(row, training):
    check_second(Tail(row, (3, 8, 5, 5), training))


@pytest.mark.parametrize("row", [WHOLE, "SE + shortcut + ReLU", "norm"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_penalty_on_the_gradient(row, training):
    tail = Tail(row, (3, 8, 5, 5), training, "SiLU inside")
    check_second(tail, of=lambda g: g.square().mean())


@pytest.mark.parametrize("row", [WHOLE, "SE", "norm + ReLU"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_batches_of_gradients(row, training):
    tail = Tail(row, (3, 8, 5, 5), training)
    sent = torch.randn(4, 3, 8, 5, 5) * off_the_relu(tail)

    def one_by_one(form, type_):
        v = {k: t.detach().to(type_).requires_grad_() for k, t in tail.inputs.items()}
        y = form(v)
        found = [
            torch.autograd.grad(y, list(v.values()), g.to(type_), retain_graph=True) for g in sent
        ]
        return [torch.stack(gradients) for gradients in zip(*found, strict=True)]

    v = tail.leaves()
    got = torch.autograd.grad(tail.fast(v), list(v.values()), sent, is_grads_batched=True)
    plain, truth = (one_by_one(tail.plain, type_) for type_ in (torch.float32, torch.float64))
    one = one_by_one(tail.fast, torch.float32)
    for name, *found in zip(v, got, plain, truth, one, strict=True):
        fast, plain_, truth_, one_ = found
        torch.testing.assert_close(fast, one_, msg=name)
        wrong = within_rule(fast, plain_, truth_, torch.float32, [2 * one_.double() - truth_])
        assert not wrong, (name, wrong)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_large_eps(training):
    tail = Tail(WHOLE, (3, 8, 5, 5), training, "SiLU inside")
    tail.eps = 0.3
    tail.check()
    check_second(tail)
