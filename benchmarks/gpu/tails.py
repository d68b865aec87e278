"""What follows a convolution, forward and backward: ours, and plain PyTorch, eager and compiled.

The tail of a residual branch is batch norm, SE, shortcut and ReLU; the unit of EfficientNet is
batch norm, SiLU and SE. Both run under autocast, as in a network, with and without CUDA graphs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.gpu.budget import Budget
from benchmarks.gpu.clock import in_turn
from benchmarks.gpu.graph import WARM_UP, captured
from benchmarks.ledger import Ledger, Row
from benchmarks.ops import tails as on_cpu
from senet import SqueezeExcitation
from senet.ops import backend
from senet.ops.activated import act_scale, act_squeeze

SHAPES = ((128, 256, 56, 56), (128, 1024, 14, 14))
SMALL = ((2, 16, 7, 7),)
TYPE = torch.bfloat16
KINDS = ("tail", "unit")


class Unit(nn.Module):
    """Batch norm, SiLU and SE as usually written."""

    def __init__(self, bn: nn.Module, se: SqueezeExcitation | None) -> None:
        super().__init__()
        self.bn, self.se, self.act = bn, se, nn.SiLU()

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        u = self.act(self.bn(x))
        if self.se is None:
            return u
        s = u.mean((2, 3), keepdim=True)
        return u * self.se.fc2(torch.relu(self.se.fc1(s))).sigmoid()


class FusedUnit(Unit):
    """The unit on the streaming passes."""

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        h = act_squeeze(x, on_cpu.norm_of(self.bn), "silu", self.se is not None)
        return act_scale(h, None if self.se is None else on_cpu.gates_of(self.se, h))


PAIRS = {"tail": (on_cpu.Fused, on_cpu.Eager), "unit": (FusedUnit, Unit)}


def run(ledger: Ledger, budget: Budget, device: torch.device, small: bool) -> None:
    """Measure what is missing from the record, while there is time: a row per kind and shape."""
    for kind in KINDS:
        for shape in SMALL if small else SHAPES:
            key = {"kind": kind, "shape": "×".join(map(str, shape)), "type": str(TYPE)[6:]}
            if key in ledger:
                continue
            if not budget.allows(20):
                return
            row = ledger.measure(key, lambda: _row(kind, shape, device, small))  # noqa: B023
            print(row, flush=True)


def _row(kind: str, shape: tuple[int, ...], device: torch.device, small: bool) -> Row:
    fused, eager = PAIRS[kind]
    bn, se = nn.BatchNorm2d(shape[1]).to(device), SqueezeExcitation(shape[1]).to(device)
    modules: dict[str, nn.Module] = {
        "SE, ours": fused(bn, se),
        "SE, eager": eager(copy.deepcopy(bn), copy.deepcopy(se)),
        "plain, ours": fused(copy.deepcopy(bn), None),
        "plain, eager": eager(copy.deepcopy(bn), None),
    }
    maps = on_cpu.maps_of(shape, TYPE, device)
    calls = {name: _step(module, *maps) for name, module in modules.items()}
    if not small:  # compiling takes a C++ compiler and a while
        torch.compiler.reset()
        for name in ("SE", "plain"):
            module = copy.deepcopy(modules[f"{name}, eager"])
            module.compile()
            calls[f"{name}, compiled"] = _step(module, *maps)
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    if device.type == "cuda":
        calls |= {f"{name}, graph": captured(call, device) for name, call in calls.items()}
    ms = in_turn(calls, device, rounds=3 if small else 20, cold=True)
    return {"backend": backend.of(torch.empty(1, 1, 1, device=device)).__name__, "ms": ms}


def _step(module: nn.Module, x: Tensor, shortcut: Tensor, sent: Tensor) -> Callable[[], None]:
    """Return a step: forward and backward, with the gradients of the weights."""
    leaves = [x, shortcut, *module.parameters()]

    def step() -> None:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.dtype == torch.bfloat16):
            y = module(x, shortcut)
        y.backward(sent.to(y.dtype))
        for leaf in leaves:
            leaf.grad = None

    return step
