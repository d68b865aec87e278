"""Break every formula of both pairs of operations in turn: each time a test must fail."""

import types
from pathlib import Path

import pytest
import torch

from senet.ops import activated, backend, norm, tail
from tests.ops import test_activated, test_synchronise, test_tail
from tests.ops.parts import gradient
from tests.ops.test_activated import Unit
from tests.ops.test_tail import WHOLE, Tail, check_second

NORM = [
    ("math.prod(x.shape[2:])", "math.prod(x.shape[1:])"),
    ("return N, x.shape[0] * N", "return N, N"),
    ("self.training or self.running_mean is None", "self.training"),
    ("Affine(None, None, None, one, torch.zeros_like(one)", "Affine(None, None, None, one, one"),
    ("m = total / N - (μ - pivot)", "m = total - (μ - pivot)"),
    ("m = total / N - (μ - pivot)", "m = total / N"),
    ("wide(norm.running_mean, x), wide(norm.running_var",
     "wide(norm.running_var, x), wide(norm.running_mean"),
    ("torch.sqrt(var + norm.eps)", "torch.sqrt(var)"),
    ("torch.sqrt(var + norm.eps)", "torch.sqrt(var) + norm.eps"),
    ("1 / σ if γ is None else γ / σ", "1 / σ"),
    ("1 / σ if γ is None else γ / σ", "σ if γ is None else γ / σ"),
    ("torch.zeros_like(a) if β is None else β", "torch.zeros_like(a)"),
    ("torch.zeros_like(a) if β is None else β", "a if β is None else β"),
    ("norm is None or not norm.training or", "norm is None or"),
    ("of.var * (of.M / (of.M - 1))", "of.var"),
    ("((norm.running_mean, of.μ), (", "((norm.running_mean, 0 * of.μ), ("),
    ("running.data.lerp_", "running.lerp_"),
    ("running.data.lerp_(batch, norm.momentum)", "running.data.lerp_(batch, 1 - norm.momentum)"),
    ("torch.lerp(running.to(batch.dtype), batch, norm.momentum)", "batch"),
    ("shift = total.sum(0) / M", "shift = total.sum(0) / (M + 1)"),
    ("(squares.sum(0) / M - shift * shift)", "(squares.sum(0) / M)"),
    ("(squares.sum(0) / M - shift", "(squares.sum(0) / (M - 1) - shift"),
    ("μ = pivot + shift", "μ = pivot"),
    ("few.mean(0, dtype=passes.accumulator(x.dtype))", "few.float().mean(0) * 0"),
]  # fmt: skip
TAIL = [
    ("passes.moments(h, None)[0] / N, wide(weight, h), wide(bias, h)",
     "passes.moments(h, None)[0], wide(weight, h), wide(bias, h)"),
    ("/ N, wide(weight, h), wide(bias, h)", "/ N, wide(weight, h)"),
    ("m = mean if of.μ is None else mean - of.μ", "m = mean"),
    ("        track(norm, of)\n", ""),
    ("            m = passes.moments(x, of.μ)[0] / sizes(x)[0]",
     "            m = passes.moments(x, of.μ)[0]"),
    ("            m = passes.moments(x, of.μ)[0]", "            m = passes.moments(x, None)[0]"),
    ("return of.a * m + of.β", "return of.a * m"),
    ("return of.a * m + of.β", "return m + of.β"),
    ("of.a.expand(x.shape[:2]), of.β.expand(x.shape[:2])",
     "of.a.expand(x.shape[:2]), torch.zeros(x.shape[:2])"),
    ("A, D = s * of.a, s * of.β", "A, D = s * of.a, of.β.expand(s.shape)"),
    ("A, D = s * of.a, s * of.β", "A, D = of.a.expand(s.shape), s * of.β"),
    ("passes.affine(x, of.μ, A, D, shortcut, relu, keep)",
     "passes.affine(x, None, A, D, shortcut, relu, keep)"),
    ("passes.affine(x, of.μ, A, D, shortcut, relu, keep)",
     "passes.affine(x, of.μ, A, D, None, relu, keep)"),
    ("passes.affine(x, of.μ, A, D, shortcut, relu, keep)",
     "passes.affine(x, of.μ, A, D, shortcut, False, keep)"),
    ("return made if keep else (made, None)", "return (made[0] if keep else made), None"),
    ("        of = own(of, norm)\n", ""),
    ("sS1, sS2, E = sS1 + dz, ", "sS1, sS2, E = sS1, "),
    ("sS2 + dz * of.m, of.a * dz / N", "sS2, of.a * dz / N"),
    ("sS2 + dz * of.m, of.a * dz / N", "sS2 + dz, of.a * dz / N"),
    ("sS2 + dz * of.m, of.a * dz / N", "sS2 + dz * of.m, dz / N"),
    ("sS2 + dz * of.m, of.a * dz / N", "sS2 + dz * of.m, of.a * dz"),
    ("T2 / of.σ if need_γ", "T2 if need_γ"),
    ("(T1 if need_β", "(T2 if need_β"),
    ("                if norm.training:", "                if True:"),
    ("T1, T2 = synchronise.sums(T1, T2, norm.group)", "pass"),
    ("E = (0 if E is None else E) - of.a * T1 / of.M", "E = 0 if E is None else E"),
    ("E = (0 if E is None else E) - of.a * T1 / of.M", "E = -of.a * T1 / of.M"),
    ("- of.a * T1 / of.M", "- T1 / of.M"),
    ("of.a * T2 / (of.σ * of.σ * of.M)", "of.a * T2 / (of.σ * of.M)"),
    ("of.a * T2 / (of.σ * of.σ * of.M)", "T2 / (of.σ * of.σ * of.M)"),
    ("passes.grad_affine(g, x, of.μ, A, E, K)", "passes.grad_affine(g, x, None, A, E, K)"),
    ("passes.grad_affine(g, x, of.μ, A, E, K)", "passes.grad_affine(g, x, of.μ, A, None, K)"),
    ("passes.grad_affine(g, x, of.μ, A, E, K)", "passes.grad_affine(g, x, of.μ, A, E, None)"),
    ("passes.grad_scale(dy, mask, x, of.μ)", "passes.grad_scale(dy, mask, x, None)"),
    ("passes.grad_scale(dy, mask, x, of.μ)", "passes.grad_scale(dy, None, x, of.μ)"),
    ("ds, A = None, of.a.expand(x.shape[:2])", "ds, A = None, torch.ones_like(S1)"),
    ("of.a * S2 + of.β * S1", "of.a * S2"),
    ("of.a * S2 + of.β * S1", "of.β * S1"),
    ("A, S1, S2 = s * of.a, s * S1, s * S2", "A, S1, S2 = of.a.expand(s.shape), s * S1, s * S2"),
    ("A, S1, S2 = s * of.a, s * S1, s * S2", "A, S1, S2 = s * of.a, S1, s * S2"),
    ("A, S1, S2 = s * of.a, s * S1, s * S2", "A, S1, S2 = s * of.a, s * S1, S2"),
    ("links = (g, A, S1, S2)", "links = (dy, A, S1, S2)"),
    ("g if need_shortcut", "dy if need_shortcut"),
    ("μ=of.μ.clone(),", "μ=of.μ,"),
    ("var=of.var.clone())", "var=of.var)"),
    ("eps=norm.eps, group=norm.group", "group=norm.group"),
    ("Norm(training=norm.learns", "Norm(training=True"),
    ("norm = norm._replace(weight=γ, bias=β)", "norm = norm._replace(bias=β)"),
    ("norm = norm._replace(weight=γ, bias=β)", "norm = norm._replace(weight=γ)"),
    ("running_mean=of.μ, running_var=of.var", "running_mean=of.var, running_var=of.var"),
    ("running_mean=of.μ, running_var=of.var", "running_mean=of.μ, running_var=of.σ"),
    ("of = of._replace(m=passes.moments(x, of.μ)[0] / sizes(x)[0])",
     "of = of._replace(m=passes.moments(x, of.μ)[0])"),
    ("of = of._replace(m=passes.moments(x, of.μ)[0]",
     "of = of._replace(m=passes.moments(x, None)[0]"),
    ("if not torch.is_grad_enabled() or norm is None:", "if True:"),
]  # fmt: skip
ACTIVATED = [
    ("        track(norm, of)\n", ""),
    ("passes.pooled(x, of.μ, of.a, of.β, activation) / sizes(x)[0]",
     "passes.pooled(x, of.μ, of.a, of.β, activation)"),
    ("passes.pooled(x, of.μ,", "passes.pooled(x, None,"),
    ("passes.pooled(x, of.μ, of.a, of.β,", "passes.pooled(x, of.μ, 2 * of.a, of.β,"),
    ("passes.pooled(x, of.μ, of.a, of.β,", "passes.pooled(x, of.μ, of.a, 0 * of.β,"),
    ("passes.activate(x, of.μ,", "passes.activate(x, None,"),
    ("passes.activate(x, of.μ, of.a,", "passes.activate(x, of.μ, 2 * of.a,"),
    ("passes.activate(x, of.μ, of.a, of.β,", "passes.activate(x, of.μ, of.a, 0 * of.β,"),
    ("of.β, wide(s, x), activation)", "of.β, None, activation)"),
    ("        of = own(of, norm)\n", ""),
    ("_, _, _, C1, C2 = passes", "_, _, _, C2, C1 = passes"),
    ("s = sS1 = sS2 = torch.zeros_like(dz)", "s = sS1 = sS2 = torch.ones_like(dz)"),
    ("e = dz / N", "e = dz"),
    ("sS1 + e * C1, sS2 + e * C2, of.a * e", "sS1, sS2 + e * C2, of.a * e"),
    ("sS1 + e * C1, sS2 + e * C2, of.a * e", "sS1 + e * C1, sS2, of.a * e"),
    ("sS1 + e * C1, sS2 + e * C2, of.a * e", "sS1 + e * C1, sS2 + e * C2, e"),
    ("sS1 + e * C1, sS2 + e * C2, of.a * e", "sS1 + e * C1, sS2 + e * C2, None"),
    ("T2 / of.σ if need_γ", "T2 if need_γ"),
    ("(T1 if need_β", "(T2 if need_β"),
    ("                if norm.training:", "                if True:"),
    ("T1, T2 = synchronise.sums(T1, T2, norm.group)", "pass"),
    ("L, K = of.a * T1 / of.M,", "L, K = T1 / of.M,"),
    ("L, K = of.a * T1 / of.M,", "L, K = None,"),
    ("of.a * T2 / (of.σ * of.σ * of.M)", "of.a * T2 / (of.σ * of.M)"),
    ("of.a * T2 / (of.σ * of.σ * of.M)", "T2 / (of.σ * of.σ * of.M)"),
    ("A = of.a * s", "A = of.a.expand(s.shape)"),
    ("A = of.a * s", "A = s"),
    ("f, A, E, K, L)", "f, A, E, L, K)"),
    ("passes.grad_activate(dy, x, of.μ,", "passes.grad_activate(dy, x, None,"),
    ("passes.grad_activate(dy, x, of.μ, of.a, of.β,",
     "passes.grad_activate(dy, x, of.μ, of.a, 0 * of.β,"),
    ("passes.grad_pooled(dy, x, of.μ, of.a, of.β, f, s is",
     "passes.grad_pooled(dy, x, None, of.a, of.β, f, s is"),
    ("passes.grad_pooled(dy, x, of.μ, of.a, of.β, f, s is",
     "passes.grad_pooled(dy, x, of.μ, of.a, 0 * of.β, f, s is"),
    ("passes.grad_pooled(dy, x, of.μ, of.a, of.β, f, True",
     "passes.grad_pooled(dy, x, None, of.a, of.β, f, True"),
    ("s = torch.ones_like(S1)", "s = torch.zeros_like(S1)"),
    ("(ds, C1, C2) = wide(s, x), more", "(ds, C2, C1) = wide(s, x), more"),
    ("S1, S2 = s * S1, s * S2", "S1, S2 = S1, s * S2"),
    ("S1, S2 = s * S1, s * S2", "S1, S2 = s * S1, S2"),
    ("links = (dy, s, S1,", "links = (dy, s * s, S1,"),
]  # fmt: skip
MUTATIONS = [
    (module, *change)
    for module, changes in ((norm, NORM), (tail, TAIL), (activated, ACTIVATED))
    for change in changes
]


def check_all(monkeypatch) -> None:
    """What must notice."""
    for training in (True, False):
        Tail(WHOLE, (5, 8, 4, 4), training).check()
        Tail("norm", (5, 8, 4, 4), training).check()
        for gate in ("sigmoid", None):
            Unit("silu", (5, 8, 4, 4), training, gate=gate).check()
    Tail("SE", (5, 8, 4, 4)).check()
    Unit("silu", (5, 8, 4, 4), norm=False).check()
    Tail(WHOLE, (3, 8, 7, 7), kind="offset").check()
    for module, form, row in ((test_tail, Tail, WHOLE), (test_activated, Unit, "silu")):
        for missing in ("weight", "bias"):
            module.test_a_norm_without_weight_or_bias(missing, training=True)
        small = form(row, (5, 8, 4, 4))
        small.maps["x"] *= 1e-3  # where eps is as large as the variance
        small.check()
    test_tail.test_where_no_statistics_are_kept_the_batch_decides_in_evaluation_too()
    test_tail.test_statistics_that_nobody_asked_to_move_stay()
    test_tail.test_running_statistics_that_a_batch_norm_of_pytorch_keeps_for_its_backward()
    for kept in (torch.float32, torch.float64):
        test_tail.test_running_statistics(0.3, kept)
    test_activated.test_running_statistics(0.3)
    for training in (True, False):
        test_tail.test_a_loss_on_the_squeeze("norm + SE + shortcut", training, both=False)
        test_activated.test_a_loss_on_the_squeeze("silu", training, both=False)
    for with_norm in (True, False):
        test_tail.test_the_mean_after_a_convolution_is_known_before_it_runs(with_norm)
    for training in (True, False):
        test_tail.test_a_large_eps(training)
        test_activated.test_a_large_eps(training)
        check_second(Tail("norm + ReLU", (5, 8, 4, 4), training))
    for of in (lambda form: form, gradient):
        test_tail.test_evaluation_then_training_then_one_backward(of)
        test_activated.test_evaluation_then_training_then_one_backward(of)
    test_synchronise.check_twin_cases(test_synchronise.twin_of(monkeypatch))


def put(changed: str, module, monkeypatch) -> None:
    """Give everybody who imported something from ``module`` that of the ``changed`` source."""
    mutant = types.ModuleType("mutant")
    exec(compile(changed, "mutant", "exec"), mutant.__dict__)
    originals = dict(vars(module))
    for user in (tail, activated, test_tail, test_activated, test_synchronise):
        for name, own in originals.items():
            if getattr(user, name, mutant) is own and not name.startswith("__"):
                monkeypatch.setattr(user, name, vars(mutant)[name])


def source(module) -> str:
    return Path(module.__file__).read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _plain_passes():
    with backend.use("eager"):
        yield


@pytest.mark.parametrize("module", [norm, tail, activated], ids=lambda m: m.__name__)
def test_nothing_fails_unbroken(module, monkeypatch):
    put(source(module), module, monkeypatch)
    check_all(monkeypatch)


@pytest.mark.parametrize(
    ("module", "right", "wrong"),
    MUTATIONS,
    ids=[f"{m[0].__name__}: {m[2][:40]}" for m in MUTATIONS],
)
def test_a_broken_formula_is_noticed(module, right, wrong, monkeypatch):
    assert source(module).count(right) == 1, f"the formula is written otherwise now: {right}"
    put(source(module).replace(right, wrong), module, monkeypatch)
    with pytest.raises((AssertionError, RuntimeError, TypeError)):
        check_all(monkeypatch)
