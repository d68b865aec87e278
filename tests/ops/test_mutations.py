"""Break every formula of both pairs of operations in turn: each time a test must fail."""

import ctypes
import shutil
import subprocess
import types
import zlib
from pathlib import Path

import pytest
import torch

from senet.ops import activated, backend, norm, tail
from tests.ops import test_activated, test_gate, test_synchronise, test_tail
from tests.ops.parts import gradient
from tests.ops.test_activated import Unit
from tests.ops.test_tail import WHOLE, Tail, check_second

pytestmark = pytest.mark.slow

if not backend.missing("native"):
    from senet.ops import native
    from senet.ops.native import pointwise, tails
    from tests.ops import test_pointwise

HAS_BFLOAT16 = not backend.missing("native") and test_pointwise.HAS_BFLOAT16
NATIVE = Path(tail.__file__).parent / "native"

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
    ("running.data.mul_(1 - k).add_", "running.mul_(1 - k).add_"),
    ("running.data.mul_(1 - k)", "running.data.mul_(k)"),
    ("running.data.mul_(1 - k).add_(batch, alpha=k)", "running.data.lerp_(batch, k)"),
    ("(1 - k) * running.to(batch.dtype) + k * batch", "batch"),
    ("shift = total.sum(0) / M", "shift = total.sum(0) / (M + 1)"),
    ("(squares.sum(0) / M - shift * shift)", "(squares.sum(0) / M)"),
    ("(squares.sum(0) / M - shift", "(squares.sum(0) / (M - 1) - shift"),
    ("μ = pivot + shift", "μ = pivot"),
    ("few.mean(0, dtype=accumulator(x.dtype))", "few.float().mean(0) * 0"),
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
    ("dγ, dβ = T2 / of.σ, T1", "dγ, dβ = T2, T1"),
    ("dγ, dβ = T2 / of.σ, T1", "dγ, dβ = T2 / of.σ, T2"),
    ("        if norm.training:", "        if True:"),
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
    ("torch.stack((of.a.expand(x.shape[:2]), S1,", "torch.stack((torch.ones_like(S1), S1,"),
    ("of.a * S2 + of.β * S1", "of.a * S2"),
    ("of.a * S2 + of.β * S1", "of.β * S1"),
    ("(s * of.a, s * S1, s * S2)", "(of.a.expand(s.shape), s * S1, s * S2)"),
    ("(s * of.a, s * S1, s * S2)", "(s * of.a, S1, s * S2)"),
    ("(s * of.a, s * S1, s * S2)", "(s * of.a, s * S1, S2)"),
    ("*((g, links) if", "*((dy, links) if"),
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
    ("            track(norm, of)\n", ""),
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
    ("s, sS1, sS2, C1, C2 = links", "s, sS1, sS2, C2, C1 = links"),
    ("e = dz / sizes(x)[0]", "e = dz"),
    ("sS1 + e * C1, sS2 + e * C2, of.a * e", "sS1, sS2 + e * C2, of.a * e"),
    ("sS1 + e * C1, sS2 + e * C2, of.a * e", "sS1 + e * C1, sS2, of.a * e"),
    ("sS1 + e * C1, sS2 + e * C2, of.a * e", "sS1 + e * C1, sS2 + e * C2, e"),
    ("sS1 + e * C1, sS2 + e * C2, of.a * e", "sS1 + e * C1, sS2 + e * C2, None"),
    ("dγ, dβ = T2 / of.σ, T1", "dγ, dβ = T2, T1"),
    ("dγ, dβ = T2 / of.σ, T1", "dγ, dβ = T2 / of.σ, T2"),
    ("        if norm.training:", "        if True:"),
    ("T1, T2 = synchronise.sums(T1, T2, norm.group)", "pass"),
    ("L, K = of.a * T1 / of.M,", "L, K = T1 / of.M,"),
    ("L, K = of.a * T1 / of.M,", "L, K = None,"),
    ("of.a * T2 / (of.σ * of.σ * of.M)", "of.a * T2 / (of.σ * of.M)"),
    ("of.a * T2 / (of.σ * of.σ * of.M)", "T2 / (of.σ * of.σ * of.M)"),
    ("activation, of.a * s, E", "activation, of.a.expand(s.shape), E"),
    ("activation, of.a * s, E", "activation, s, E"),
    ("s, E, K, L)", "s, E, L, K)"),
    ("passes.grad_activate(dy, x, of.μ,", "passes.grad_activate(dy, x, None,"),
    ("passes.grad_activate(dy, x, of.μ, of.a, of.β,",
     "passes.grad_activate(dy, x, of.μ, of.a, 0 * of.β,"),
    ("passes.grad_pooled(dy, x, of.μ, of.a, of.β, activation, s is",
     "passes.grad_pooled(dy, x, None, of.a, of.β, activation, s is"),
    ("passes.grad_pooled(dy, x, of.μ, of.a, of.β, activation, s is",
     "passes.grad_pooled(dy, x, of.μ, of.a, 0 * of.β, activation, s is"),
    ("torch.stack((torch.ones_like(S1), S1", "torch.stack((torch.zeros_like(S1), S1"),
    ("(ds, C1, C2) = wide(s, x), more", "(ds, C2, C1) = wide(s, x), more"),
    ("(s, s * S1, s * S2,", "(s, S1, s * S2,"),
    ("(s, s * S1, s * S2,", "(s, s * S1, S2,"),
    ("(s, s * S1, s * S2,", "(s * s, s * S1, s * S2,"),
]  # fmt: skip
# The same formulas in C, of tails.c.
IN_C = [
    ("running_mean[c] = tracked(", "(void)tracked("),
    ("(1 - momentum) * running + momentum * batch", "running + momentum * (batch - running)"),
    ("of.var[c] * (M / (M - 1))", "of.var[c]"),
    ("square / M - shift * shift", "square / M"),
    ("of.mu[c] = pivot[c] + shift", "of.mu[c] = pivot[c]"),
    ("m[b * C + c] / N - pivot[c]", "m[b * C + c] / N"),
    ("sqrtf(of.var[c] + (float)eps)", "sqrtf(of.var[c])"),
    ("(gamma ? gamma[c] : 1) / of.sigma[c]", "1 / of.sigma[c]"),
    ("(gamma ? gamma[c] : 1) / of.sigma[c]", "(gamma ? gamma[c] : 0) / of.sigma[c]"),
    ("beta ? beta[c] : 0;", "0;"),
    ("m[i] /= N", "m[i] /= 1"),
    ("of.a[c] * m[b * C + c] + of.beta[c]", "of.a[c] * m[b * C + c]"),
    ("A[b * C + c] = gate * a[c]", "A[b * C + c] = a[c]"),
    ("D[b * C + c] = gate * beta[c]", "D[b * C + c] = beta[c]"),
    ("A[i + c] = s ? s[i + c] * a[c] : a[c]", "A[i + c] = a[c]"),
    ("a[c] * S2[i + c] + beta[c] * S1[i + c]", "a[c] * S2[i + c]"),
    ("S1[i + c] *= s[i + c], S2[i + c]", "S2[i + c]"),
    ("t1 += sS1[i], t2 += sS2[i]", "t1 += sS1[i]"),
    ("t1 += dz[i] * (C1 ? C1[i] : 1), t2", "t2"),
    ("t2 += dz[i] * C2[i]", "t2 += dz[i]"),
    ("(dz ? dz[i + c] / N : 0)", "(dz ? dz[i + c] : 0)"),
    ("(learns ? T1[c] / M : 0)", "0"),
    ("(learns ? T1[c] / M : 0)", "T1[c] / M"),
    ("S1[i] *= gate[i], S2[i] *= gate[i]", "S2[i] *= gate[i]"),
    ("gate[i] = s ? s[i] : 1", "gate[i] = 1"),
    ("e[i] = dz[i] / N", "e[i] = dz[i]"),
    ("A[i + c] = a[c] * s[i + c]", "A[i + c] = s[i + c]"),
    ("E[i + c] = dz ? a[c] * e[i + c] : 0", "E[i + c] = 0"),
    ("L[c] = a[c] * T1[c] / M", "L[c] = 0"),
    ("sqrtf(var[c] + (float)eps) : 1", "sqrtf(var[c]) : 1"),
    ("(gamma ? gamma[c] : 1) / sqrtf", "1 / sqrtf"),
    ("b[c] = var && beta ? beta[c] : 0", "b[c] = 0"),
    ("mean[i + c] - (mu ? mu[c] : 0)", "mean[i + c]"),
    ("z[i + c] /= N", "z[i + c] /= 1"),
    (": z[i + c]) + b[c]", ": z[i + c])"),
    ("i++) z[i] /= N", "i++) z[i] /= 1"),
    ("senet_mean(x, mu, z", "senet_mean(x, NULL, z"),
    (".outputs = outputs, .f = IDENTITY", ".outputs = outputs, .f = RELU"),
    (".inputs = w1 ? R : C", ".inputs = C"),
    ("A[i + c] = s[i + c] * a[c], D", "A[i + c] = s[i + c], D"),
    ("D[i + c] = s[i + c] * b[c]", "D[i + c] = b[c]"),
]  # fmt: skip
IN_POINTWISE = [
    ("s[i] * (sum[i] + bias[i])", "(sum[i] + bias[i])"),
    ("s[i] * (sum[i] + bias[i])", "s[i] * sum[i] + bias[i]"),
    (": sum[i] + bias[i];", ": sum[i];"),
    ("add ? u + shortcut[i] : u", "u"),
    ("y[i] = apply(f, u)", "y[i] = u"),
    ("n / j->N * C + c", "c"),
    ("if (!left) s += C, left = j->N;", ""),
    ("j->N - n % j->N", "j->N"),
    ("total[c] / N", "total[c]"),
    ("k->sum(h, i / parts * N + first,", "k->sum(h, first,"),
    ("i % parts * MEAN_ROWS", "0"),
    ("total[c] += partial[part * K + c]", "total[c] = partial[part * K + c]"),
    ("min(n + chunk, last)", "min(n + chunk / 2, last)"),
    ("min(COLUMNS, j->layer->outputs - c)", "min(COLUMNS, j->layer->outputs - c) / 2"),
    (".h = s, .y = s + B * layers[i].inputs", ".h = scratch, .y = s + B * layers[i].inputs"),
    ("if (of_inputs) j.of_inputs = s;\n    else j.s = s;", "j.s = s;"),
    ("mine - n * row_size", "mine"),
]  # fmt: skip
# Noticed where the processor multiplies bfloat16.
IN_BFLOAT16 = [
    ("converted[i] = load(T, j->shortcut, start + i)", "converted[i] = 0"),
    ("T != FLOAT32 && i < columns; i++) store(", "T != FLOAT32 && i < columns / 2; i++) store("),
]
MUTATIONS = [
    (module, *change)
    for module, changes in ((norm, NORM), (tail, TAIL), (activated, ACTIVATED))
    for change in changes
]


def check_all(monkeypatch) -> None:
    """Run the checks that must notice a mutation."""
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
    test_tail.test_infinite_running_statistics_stay_infinite()


def put(changed: str, module, monkeypatch) -> None:
    """Replace everything imported from ``module`` by that of the ``changed`` source."""
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


@pytest.fixture(scope="session")
def objects(tmp_path_factory):
    """Compile every C file, with which the mutants of the others are linked."""
    if backend.missing("native") or not shutil.which("gcc"):
        pytest.skip("needs gcc and the C library")
    folder = tmp_path_factory.mktemp("c")
    for file in NATIVE.glob("*.c"):
        _gcc("-O1", "-c", file, "-o", folder / f"{file.stem}.o")
    return folder


def _gcc(*words) -> None:
    subprocess.run(["gcc", "-fopenmp", "-fPIC", "-DSENET_SOURCE=0u", *words], check=True)


def put_in_c(changed: str, stem: str, objects: Path, monkeypatch) -> None:
    """Run the C library with the file ``stem`` ``changed``."""
    mutant = objects / f"mutant{zlib.crc32(changed.encode())}.c"
    mutant.write_text(changed, encoding="utf-8")
    others = [path for path in objects.glob("*.o") if path.stem != stem]
    library = mutant.with_suffix(".so")
    _gcc("-O1", "-I", NATIVE, "-shared", mutant, *others, "-o", library)
    loaded = ctypes.CDLL(str(library))
    native.library.declare(loaded)
    monkeypatch.setattr(tails, "_c", loaded)
    monkeypatch.setattr(pointwise, "_c", loaded)


def source_in_c(stem: str) -> str:
    return (NATIVE / f"{stem}.c").read_text(encoding="utf-8")


def check_tails(monkeypatch) -> None:
    """Run the checks that must notice a mutation of tails.c: halves of tails, and whole ones."""
    with backend.use("native"):
        for two, activation in ((True, None), (True, "silu"), (False, None)):
            for last in (True, False):
                test_gate.check_a_whole_tail(two, activation, "sigmoid", last)
        test_gate.check_a_known_mean()
        for with_norm in (True, False):
            test_tail.test_the_mean_after_a_convolution_is_known_before_it_runs(with_norm)
        check_all(monkeypatch)


def check_in_c(stem: str, monkeypatch) -> None:
    if stem == "tails":
        check_tails(monkeypatch)
    else:
        test_pointwise.check_all()
        if HAS_BFLOAT16:
            test_pointwise.check_all(torch.bfloat16)


@pytest.mark.parametrize("stem", ["tails", "pointwise"])
def test_nothing_fails_unbroken_in_c(stem, objects, monkeypatch):
    put_in_c(source_in_c(stem), stem, objects, monkeypatch)
    check_in_c(stem, monkeypatch)


BROKEN_IN_C = [("tails", *change) for change in IN_C] + [
    ("pointwise", *change) for change in IN_POINTWISE + IN_BFLOAT16 * HAS_BFLOAT16
]


@pytest.mark.parametrize(
    ("stem", "right", "wrong"), BROKEN_IN_C, ids=[f"{m[0]}: {m[2][:40]}" for m in BROKEN_IN_C]
)
def test_a_broken_formula_in_c_is_noticed(stem, right, wrong, objects, monkeypatch):
    source = source_in_c(stem)
    assert right in source, f"the formula is written otherwise now: {right}"
    put_in_c(source.replace(right, wrong), stem, objects, monkeypatch)
    with pytest.raises((AssertionError, RuntimeError, TypeError)):
        check_in_c(stem, monkeypatch)
