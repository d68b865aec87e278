"""Each streaming pass alone, in bytes per second, beside copies of memory in the same run.

A pass reads and writes every byte of its maps once, so a copy is its limit: a copy of the same map,
and one so large that its start and end do not count. The device's cache is overwritten before each,
and maps are channels last, as in a network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.gpu.budget import Budget
from benchmarks.gpu.clock import in_turn
from benchmarks.ledger import Ledger, Row
from benchmarks.ops import passes as on_cpu
from senet.ops import backend

SHAPES = ((128, 256, 56, 56), (128, 512, 28, 28), (128, 1024, 14, 14), (128, 2048, 7, 7))
SMALL = ((2, 8, 7, 7),)
TYPES = (torch.bfloat16, torch.float32)
ACTIVATION = "silu"
# How many maps each pass reads and writes.
MAPS = on_cpu.MAPS | {"pooled": 1, "activate": 2, "grad_pooled": 2, "grad_activate": 3}
LARGE = 1 << 30
"""The bytes of the large copy."""


def run(ledger: Ledger, budget: Budget, device: torch.device, small: bool) -> None:
    """Measure what is missing from the record: a row per shape and type."""
    for shape in SMALL if small else SHAPES:
        for type_ in TYPES:
            key = {"shape": "×".join(map(str, shape)), "type": str(type_)[6:]}
            if key in ledger:
                continue
            if not budget.allows(5):
                return
            print(line(ledger.measure(key, lambda: _row(shape, type_, device, small))), flush=True)  # noqa: B023


def _row(shape: tuple[int, ...], type_: torch.dtype, device: torch.device, small: bool) -> Row:
    layout = {"memory_format": torch.channels_last}
    x = torch.randn(shape, device=device).to(type_).contiguous(**layout)
    ready = torch.empty_like(x)
    source = torch.empty(1 << 20 if small else LARGE, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    calls: dict[str, Callable[[], object]] = {
        "large copy": lambda: target.copy_(source),
        "copy": lambda: ready.copy_(x),
    }
    with torch.no_grad():
        passes = backend.of(x)
        calls |= on_cpu.calls(passes, x) | _activated(passes, x)
        for call in calls.values():  # compiles the kernels
            call()
        ms = in_turn(calls, device, rounds=3 if small else 30, cold=True)
    read = x.numel() * x.element_size()
    rates = {name: _rate(read * maps, ms[name]) for name, maps in MAPS.items()}
    rates["large copy"] = _rate(2 * source.numel(), ms["large copy"])
    return {"backend": passes.__name__.rpartition(".")[2], "ms": ms, "GB/s": rates}


def _activated(passes, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Return the passes with an activation, as EfficientNet's SE unit calls them in training."""
    dy = torch.randn_like(x)
    S, A, E = (torch.randn(x.shape[:2], device=x.device) for _ in range(3))
    a, b, pivot, K, L = (torch.randn(x.shape[1], device=x.device) for _ in range(5))
    normed = x, pivot, a, b
    return {
        "pooled": lambda: passes.pooled(*normed, ACTIVATION),
        "activate": lambda: passes.activate(*normed, S, ACTIVATION),
        "grad_pooled": lambda: passes.grad_pooled(dy, *normed, ACTIVATION, True),
        "grad_activate": lambda: passes.grad_activate(dy, *normed, ACTIVATION, A, E, K, L),
    }


def _rate(count: int, ms: float) -> float:
    return count / 1e6 / ms


def line(row: Row) -> str:
    rates = row.get("GB/s", {}).items()
    figures = "GB/s: " + "  ".join(f"{name} {rate:.0f}" for name, rate in rates)
    return f"{row['type']:9}{row['shape']:18}{figures if rates else row.get('failed', 'no memory')}"
