"""The tail of a residual branch, forward and backward: batch norm (+ SE) + shortcut + ReLU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import record
from senet import SqueezeExcitation
from senet.fuse.rewrite import pointwise
from senet.models.describe.cost import in_turn
from senet.ops.activated import Activated
from senet.ops.gate import Gate, gated_tail
from senet.ops.norm import Norm
from senet.ops.tail import Squeezed, norm_scale, norm_squeeze

SHAPES = ((16, 256, 56, 56), (16, 512, 28, 28), (16, 1024, 14, 14), (16, 2048, 7, 7))


class Eager(nn.Module):
    """The tail as usually written."""

    def __init__(self, bn: nn.Module, se: SqueezeExcitation | None) -> None:
        super().__init__()
        self.bn, self.se = bn, se

    def forward(self, x: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
        u = self.bn(x)
        if self.se is not None:
            s = F.adaptive_avg_pool2d(u, 1)
            s = self.se.fc2(torch.relu(self.se.fc1(s))).sigmoid()
            u = u * s
        return torch.relu(u + shortcut)


class Fused(Eager):
    """The tail on the passes, as `accelerate` writes it into a graph."""

    def forward(self, x: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
        if self.se is not None and not torch.is_grad_enabled():
            return gated_tail(x, norm_of(self.bn), None, layers_of(self.se), shortcut, True)
        h = norm_squeeze(x, norm_of(self.bn), self.se is not None)
        return norm_scale(h, None if self.se is None else gates_of(self.se, h), shortcut, True)


def norm_of(bn: Any) -> Norm:
    """Return a batch norm as the passes take it."""
    given = bn.running_mean, bn.running_var, bn.weight, bn.bias, bn.training, bn.momentum, bn.eps
    return Norm(*given)


def layers_of(se: SqueezeExcitation) -> Gate:
    """Return the layers of ``se`` as a whole tail takes them."""
    first, second = se.fc1, se.fc2
    return Gate(first.weight, first.bias, "relu", second.weight, second.bias, "sigmoid")


def gates_of(se: SqueezeExcitation, h: Squeezed | Activated) -> torch.Tensor:
    """Return the gates of ``se``, ``[B, C]``, by linear layers, as `accelerate` writes them."""
    assert h.z is not None
    hidden = torch.relu(pointwise(h.z, se.fc1.weight, se.fc1.bias))
    return pointwise(hidden, se.fc2.weight, se.fc2.bias).sigmoid()


def measure(shape: tuple[int, ...], repeats: int) -> dict[str, float]:
    """Return the milliseconds of forward plus backward of every form, measured in turn."""
    bn, se = nn.BatchNorm2d(shape[1]), SqueezeExcitation(shape[1])
    maps = maps_of(shape, torch.float32)
    forms = {
        "SE fused": _call(Fused(bn, se), *maps),
        "SE eager": _call(Eager(bn, se), *maps),
        "SE compiled": _call(torch.compile(Eager(bn, se)), *maps),
        "plain fused": _call(Fused(bn, None), *maps),
        "plain eager": _call(Eager(bn, None), *maps),
    }
    # Eager layers need one type for maps and weights; there, autocast takes care of half precision.
    maps = maps_of(shape, torch.bfloat16)
    forms["SE fused, bfloat16"] = _call(Fused(bn, se), *maps)
    forms["plain fused, bfloat16"] = _call(Fused(bn, None), *maps)
    return in_turn(forms, repeats)


def maps_of(
    shape: tuple[int, ...], type_: torch.dtype, device: torch.device | str = "cpu"
) -> list[torch.Tensor]:
    """Return the input, the shortcut, and the gradient of the output."""
    layout = {"memory_format": torch.channels_last}
    x, shortcut, sent = (
        torch.randn(shape, device=device).to(type_).contiguous(**layout) for _ in range(3)
    )
    return [x.requires_grad_(), shortcut.requires_grad_(), sent]


def _call(
    tail: Callable[..., torch.Tensor], x: torch.Tensor, shortcut: torch.Tensor, sent: torch.Tensor
) -> Callable[[], None]:
    def run() -> None:
        tail(x, shortcut).backward(sent)
        x.grad = shortcut.grad = None

    return run


def table(repeats: int) -> list[dict[str, object]]:
    """Return a row per shape."""
    rows = []
    for shape in SHAPES:
        rows.append({"shape": "×".join(map(str, shape)), "ms": measure(shape, repeats)})
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    record.keep_memory("benchmarks.ops.tails")
    torch.set_num_threads(2)
    environment = record.environment()
    print(record.write("cpu-tails", {"tails": table(repeats=9)}, environment))
