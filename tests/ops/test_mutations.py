"""Break every formula of the fused algebra in turn: each time a test must fail."""

import types
from pathlib import Path

import pytest
import torch

from senet.ops import backend, fused
from tests.ops.test_fused import Tail

SOURCE = Path(fused.__file__).read_text(encoding="utf-8")

MUTATIONS = [
    ("shift = total.sum(0) / M", "shift = total.sum(0) / (M + 1)"),
    ("m = total / N - (μ - pivot)", "m = total - (μ - pivot)"),
    ("var = (squares.sum(0) / M - shift * shift)", "var = (squares.sum(0) / M)"),
    ("var = (squares.sum(0) / M - shift", "var = (squares.sum(0) / (M - 1) - shift"),
    ("μ = pivot + shift", "μ = pivot"),
    ("m = total / N - (μ - pivot)", "m = total / N"),
    ("m = passes.moments(x, μ)[0] / N", "m = passes.moments(x, None)[0] / N"),
    ("torch.sqrt(var + eps)", "torch.sqrt(var)"),
    ("return 1 / σ if γ is None else γ / σ", "return 1 / σ"),
    ("z = a * m + β", "z = a * m"),
    ("h = torch.relu(F.linear(z, w1, b1))", "h = torch.relu(F.linear(z, w1))"),
    ("F.linear(h, w2, b2)", "F.linear(h, w2)"),
    ("A, D = s * a, s * β", "A, D = s * a, β"),
    ("A, D = s * a, s * β", "A, D = a, s * β"),
    ("passes.affine(x, μ, A, D, shortcut, relu)", "passes.affine(x, None, A, D, shortcut, relu)"),
    ("ds = a * S2 + β * S1", "ds = a * S2"),
    ("ds = a * S2 + β * S1", "ds = β * S1"),
    ("T1, T2 = (s * S1 + dz)", "T1, T2 = (s * S1)"),
    ("(s * S2 + dz * m).sum(0)", "(s * S2).sum(0)"),
    ("A, E = s * a, a * dz / N", "A, E = a, a * dz / N"),
    ("A, E = s * a, a * dz / N", "A, E = s * a, a * dz"),
    ("dγ, dβ = T2 / σ, T1", "dγ, dβ = T2, T1"),
    ("E = (0 if E is None else E) - a * T1 / M", "E = (0 if E is None else E)"),
    ("E = (0 if E is None else E) - a * T1 / M", "E = -a * T1 / M"),
    ("K = a * T2 / (σ * σ * M)", "K = a * T2 / (σ * M)"),
    ("d2 = ds * GATES[gate].slope(s)", "d2 = ds"),
    ("* (h > 0)", ""),
    ("lambda s: s * (1 - s)", "lambda s: 1 - s"),
    ("lambda s: 1 - s * s", "lambda s: 1 - s"),
    ("lambda s: (s > 0).to(s.dtype)", "lambda s: torch.ones_like(s)"),
    ("s * (1 - s / 2)", "s * (1 - s) / 2"),
    ("((s > 0) & (s < 1)).to(s.dtype) / 6", "(s > 0).to(s.dtype) / 6"),
    ("d1.T @ z, d1.sum(0)", "d1.T @ z, 2 * d1.sum(0)"),
    ("d2.T @ h, d2.sum(0)", "d2.T @ h.relu() * 2, d2.sum(0)"),
    ("dx, dshortcut, dγ, dβ", "dx, dx, dγ, dβ"),
]


def check_all() -> None:
    """What must notice: the whole tail in both modes, every gate, and the norm alone."""
    for training in (True, False):
        Tail("norm + SE + shortcut + ReLU", (5, 8, 4, 4), training).check(torch.float32)
        Tail("norm", (5, 8, 4, 4), training).check(torch.float32)
    for gate in fused.GATES:
        Tail("norm + SE + shortcut + ReLU", (5, 8, 4, 4), gate=gate).check(torch.float32)
    small = Tail("norm + SE + shortcut", (5, 8, 4, 4))
    small.maps["x"] *= 1e-3  # where eps is as large as the variance
    small.check(torch.float32)


@pytest.fixture(autouse=True)
def _plain_passes():
    with backend.use("eager"):
        yield


def test_nothing_fails_unbroken():
    check_all()


@pytest.mark.parametrize(("right", "wrong"), MUTATIONS, ids=[m[1][:40] for m in MUTATIONS])
def test_a_broken_formula_is_noticed(right, wrong, monkeypatch):
    assert SOURCE.count(right) >= 1, f"the formula is written otherwise now: {right}"
    mutant = types.ModuleType("mutant")
    exec(compile(SOURCE.replace(right, wrong), "mutant", "exec"), mutant.__dict__)
    monkeypatch.setattr(fused, "norm_act", mutant.norm_act)
    monkeypatch.setattr(fused, "GATES", mutant.GATES)
    with pytest.raises((AssertionError, RuntimeError)):
        check_all()
