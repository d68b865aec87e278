"""Break every formula of the fused algebra in turn: each time a test must fail."""

import types
from pathlib import Path

import pytest
import torch

from senet.ops import activated, backend, excitation, fused, norm
from senet.ops.activation import ACTIVATIONS
from tests.ops import test_activated, test_fused
from tests.ops.test_activated import Unit
from tests.ops.test_fused import Tail

MUTATIONS = [
    (norm, "shift = total.sum(0) / M", "shift = total.sum(0) / (M + 1)"),
    (norm, "var = (squares.sum(0) / M - shift * shift)", "var = (squares.sum(0) / M)"),
    (norm, "var = (squares.sum(0) / M - shift", "var = (squares.sum(0) / (M - 1) - shift"),
    (norm, "μ = pivot + shift", "μ = pivot"),
    (norm, "return 1 / σ if γ is None else γ / σ", "return 1 / σ"),
    (fused, "m = total / N - (μ - pivot)", "m = total - (μ - pivot)"),
    (fused, "m = total / N - (μ - pivot)", "m = total / N"),
    (fused, "m = passes.moments(x, μ)[0] / N", "m = passes.moments(x, None)[0] / N"),
    (fused, "torch.sqrt(var + eps)", "torch.sqrt(var)"),
    (fused, "z = a * m + β", "z = a * m"),
    (excitation, "h = F.linear(z, se.w1, se.b1)", "h = F.linear(z, se.w1)"),
    (excitation, "F.linear(δ(h), se.w2, se.b2)", "F.linear(δ(h), se.w2)"),
    (excitation, "F.linear(δ(h), se.w2, se.b2)", "F.linear(h, se.w2, se.b2)"),
    (fused, "A, D = s * a, s * β", "A, D = s * a, β"),
    (fused, "A, D = s * a, s * β", "A, D = a, s * β"),
    (
        fused,
        "passes.affine(x, μ, A, D, shortcut, relu)",
        "passes.affine(x, None, A, D, shortcut, relu)",
    ),
    (fused, "ds = a * S2 + β * S1", "ds = a * S2"),
    (fused, "ds = a * S2 + β * S1", "ds = β * S1"),
    (fused, "T1, T2 = (s * S1 + dz)", "T1, T2 = (s * S1)"),
    (fused, "(s * S2 + dz * m).sum(0)", "(s * S2).sum(0)"),
    (fused, "A, E = s * a, a * dz / N", "A, E = a, a * dz / N"),
    (fused, "A, E = s * a, a * dz / N", "A, E = s * a, a * dz"),
    (fused, "dγ, dβ = T2 / σ, T1", "dγ, dβ = T2, T1"),
    (fused, "E = (0 if E is None else E) - a * T1 / M", "E = (0 if E is None else E)"),
    (fused, "E = (0 if E is None else E) - a * T1 / M", "E = -a * T1 / M"),
    (fused, "K = a * T2 / (σ * σ * M)", "K = a * T2 / (σ * M)"),
    (fused, "(dx, dshortcut, dγ, dβ", "(dx, dx, dγ, dβ"),
    (excitation, "d2 = ds * GATES[se.gate].slope(s)", "d2 = ds"),
    (excitation, "* δ.slope(h)", ""),
    (excitation, "lambda s: s * (1 - s)", "lambda s: 1 - s"),
    (excitation, "lambda s: 1 - s * s", "lambda s: 1 - s"),
    (excitation, "lambda s: (s > 0).to(s.dtype)", "lambda s: torch.ones_like(s)"),
    (excitation, "s * (1 - s / 2)", "s * (1 - s) / 2"),
    (excitation, "((s > 0) & (s < 1)).to(s.dtype) / 6", "(s > 0).to(s.dtype) / 6"),
    (excitation, "d1.T @ z, d1.sum(0)", "d1.T @ z, 2 * d1.sum(0)"),
    (excitation, "d2.T @ δ.function(h), d2.sum(0)", "d2.T @ h, d2.sum(0)"),
    (activated, "torch.sqrt(var + eps)", "torch.sqrt(var)"),
    (
        activated,
        "passes.pooled(x, μ, a, β, activation) / N",
        "passes.pooled(x, μ, a, β, activation)",
    ),
    (activated, "passes.pooled(x, μ, a, β,", "passes.pooled(x, None, a, β,"),
    (activated, "passes.pooled(x, μ, a, β,", "passes.pooled(x, μ, a, 0 * β,"),
    (activated, "passes.activate(x, μ, a, β, s,", "passes.activate(x, μ, a, β, None,"),
    (activated, "passes.activate(x, μ, a, β, s,", "passes.activate(x, μ, 2 * a, β, s,"),
    (activated, "ds, C1, C2 = more", "ds, C2, C1 = more"),
    (activated, "e = dz / N", "e = dz"),
    (activated, "(s * S1 + e * C1).sum(0)", "(s * S1).sum(0)"),
    (activated, "(s * S2 + e * C2).sum(0)", "(s * S2).sum(0)"),
    (activated, "(s * S1 + e * C1).sum(0)", "(S1 + e * C1).sum(0)"),
    (activated, "T1, T2 = S1.sum(0), S2.sum(0)", "T1, T2 = S1.sum(0), 2 * S2.sum(0)"),
    (activated, "A, E = a * s, a * e", "A, E = a, a * e"),
    (activated, "A, E = a * s, a * e", "A, E = a * s, e"),
    (activated, "A, E = a * s, a * e", "A = a * s"),
    (activated, "dγ, dβ = T2 / σ, T1", "dγ, dβ = T2, T1"),
    (activated, "L, K = a * T1 / M,", "L, K = T1 / M,"),
    (activated, "L, K = a * T1 / M,", "L, K = None,"),
    (activated, "a * T2 / (σ * σ * M)", "a * T2 / (σ * M)"),
    (activated, "A, E, K, L)", "A, E, L, K)"),
]


def check_all() -> None:
    """What must notice: the whole tail in both modes, every gate, and the norm alone."""
    for training in (True, False):
        Tail("norm + SE + shortcut + ReLU", (5, 8, 4, 4), training).check(torch.float32)
        Tail("norm", (5, 8, 4, 4), training).check(torch.float32)
        for se in (True, False):
            Unit("silu", (5, 8, 4, 4), training, se=se).check()
    for gate in excitation.GATES:
        tail = Tail("norm + SE + shortcut + ReLU", (5, 8, 4, 4), gate=gate)
        tail.parameters["b2"] = torch.linspace(-6, 6, 8)  # some gates are shut, and some open
        tail.check(torch.float32)
    for activation in ACTIVATIONS:
        Unit(activation, (5, 8, 4, 4), inner=activation).check()
    small = Tail("norm + SE + shortcut", (5, 8, 4, 4))
    small.maps["x"] *= 1e-3  # where eps is as large as the variance
    small.check(torch.float32)
    small = Unit("silu", (5, 8, 4, 4))
    small.maps["x"] *= 1e-3
    small.check()


@pytest.fixture(autouse=True)
def _plain_passes():
    with backend.use("eager"):
        yield


def test_nothing_fails_unbroken():
    check_all()


@pytest.mark.parametrize(
    ("module", "right", "wrong"),
    MUTATIONS,
    ids=[f"{m[0].__name__}: {m[2][:40]}" for m in MUTATIONS],
)
def test_a_broken_formula_is_noticed(module, right, wrong, monkeypatch):
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert source.count(right) >= 1, f"the formula is written otherwise now: {right}"
    mutant = types.ModuleType("mutant")
    exec(compile(source.replace(right, wrong), "mutant", "exec"), mutant.__dict__)
    # Whoever imported something from the module gets it from the mutant.
    for user in (fused, activated, test_fused, test_activated):
        for name, own in vars(module).items():
            if getattr(user, name, mutant) is own and not name.startswith("__"):
                monkeypatch.setattr(user, name, vars(mutant)[name])
    with pytest.raises((AssertionError, RuntimeError)):
        check_all()
