"""Backends, maps and gates of every kind, for the tests of both pairs of operations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from senet.ops import backend, passes
from tests.oracle import Function

BACKENDS = [name for name in backend.NAMES if not backend.missing(name)]
if not torch.cuda.is_available():
    BACKENDS = [name for name in BACKENDS if name != "triton"]  # see test_triton.py

TYPES = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = [(6, 16, 1, 1), (1, 16, 7, 7), (2, 19, 13, 17), (2, 8, 56, 56), (3, 1, 5, 5), (4, 12, 33),
          (2, 6, 4, 5, 3)]  # fmt: skip


@contextmanager
def on(name: str):
    """Use the backend, and make new tensors on its device."""
    there = torch.device("cuda") if name == "triton" else nullcontext()
    with backend.use(name), there:
        yield


def spy(monkeypatch, *names: str) -> list[str]:
    """Return a list to which calls of the passes add their names, in either form of a half."""
    calls: list[str] = []
    for name in names:
        _record(monkeypatch, passes, name, lambda *_, name=name: calls.append(name))
    if not backend.missing("native"):
        from senet.ops.native import tails

        first, last = names
        for half in ("grad_scale", "grad_act_scale"):
            _record(monkeypatch, tails, half, lambda *_: calls.append(first))
        for half, place in (("grad_squeeze", 6), ("grad_act_squeeze", 7)):  # of `need_x`

            def note(*a: Any, place: int = place) -> None:
                if a[place]:
                    calls.append(last)

            _record(monkeypatch, tails, half, note)
    return calls


def _record(monkeypatch, module, name: str, note: Callable[..., object]) -> None:
    real = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: (note(*args), real(*args))[1])


def a_map(kind: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    return {
        "normal": lambda: torch.randn(shape) * scale,
        "offset": lambda: torch.randn(shape) + 100,
        "constant": lambda: torch.full(shape, 0.75),
        "huge": lambda: torch.randn(shape) * 1e4,
    }[kind]()


def laid(x: Tensor, layout: str) -> Tensor:
    """Return ``x`` channels-last in memory, or unchanged."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if layout == "last" else x


def mean(u: Tensor) -> Tensor:
    return u.mean(list(range(2, u.dim())))


def times(s: Tensor, u: Tensor) -> Tensor:
    return s.reshape(s.shape + (1,) * (u.dim() - 2)) * u


def gradient(form: Function, where: Tensor | float = 1.0) -> Function:
    """Return all gradients of a smooth loss on the output of ``form``, as a vector with grad."""

    def run(v: dict[str, Tensor]) -> Tensor:
        v = {k: t if t.requires_grad else t.detach().requires_grad_() for k, t in v.items()}
        loss = (form(v).sin() * where).sum()
        found = torch.autograd.grad(loss, list(v.values()), create_graph=True)
        return torch.cat([g.flatten() for g in found])

    return run


class Gate(NamedTuple):
    """A gate: its parameters, and the function from z and these to s, ``[B, C]``."""

    parameters: Callable[[int], dict[str, Tensor]]
    function: Callable[[Tensor, dict[str, Tensor]], Tensor]


def _layers(channels: int) -> dict[str, Tensor]:
    reduced = max(channels // 4, 1)
    return {
        "w1": torch.randn(reduced, channels) / channels**0.5,
        "b1": torch.randn(reduced),
        "w2": torch.randn(channels, reduced) / reduced**0.5,
        "b2": torch.randn(channels),
    }


def _linear(z: Tensor, v: dict[str, Tensor], layer: int) -> Tensor:
    bias = v.get(f"b{layer}")
    return F.linear(z, v[f"w{layer}"].to(z.dtype), None if bias is None else bias.to(z.dtype))


def _two_layers(last: Callable[[Tensor], Tensor], inner: Callable[[Tensor], Tensor]) -> Gate:
    return Gate(_layers, lambda z, v: last(_linear(inner(_linear(z, v, 1)), v, 2)))


def _eca(z: Tensor, v: dict[str, Tensor]) -> Tensor:
    return F.conv1d(z[:, None], v["k"].to(z.dtype), padding=1)[:, 0].sigmoid()


def _with_norm(z: Tensor, v: dict[str, Tensor]) -> Tensor:
    h = F.silu(F.batch_norm(_linear(z, v, 1), None, None, training=True))
    return _linear(h, v, 2).sigmoid()


GATES = {
    "sigmoid": _two_layers(torch.sigmoid, torch.relu),
    "hardsigmoid": _two_layers(F.hardsigmoid, torch.relu),
    "tanh": _two_layers(torch.tanh, torch.relu),
    "relu": _two_layers(torch.relu, torch.relu),
    "2σ": _two_layers(lambda h: 2 * h.sigmoid(), torch.relu),
    "SiLU inside": _two_layers(torch.sigmoid, F.silu),
    "Hardswish inside": _two_layers(torch.sigmoid, F.hardswish),
    "one layer": Gate(
        lambda channels: {"w1": torch.randn(channels, channels), "b1": torch.randn(channels)},
        lambda z, v: F.hardsigmoid(_linear(z, v, 1)),
    ),
    "ECA": Gate(lambda channels: {"k": torch.randn(1, 1, 3)}, _eca),
    "norm inside": Gate(
        lambda channels: {k: v for k, v in _layers(channels).items() if k != "b1"}, _with_norm
    ),
    "softmax": _two_layers(lambda h: h.softmax(1), torch.relu),
    "dropout off": _two_layers(lambda h: F.dropout(h, 0.5, training=False).sigmoid(), torch.relu),
    "sigmoid of z": Gate(lambda channels: {}, lambda z, v: z.sigmoid()),
    "z": Gate(lambda channels: {}, lambda z, v: z),
}
SMOOTH = ["SiLU inside", "ECA", "norm inside", "softmax", "z"]
