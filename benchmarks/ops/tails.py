"""The tail of a residual branch, forward and backward: batch norm (+ SE) + shortcut + ReLU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from senet import SqueezeExcitation
from senet.models.cost import in_turn
from senet.nn import norm_act

SHAPES = ((16, 256, 56, 56), (16, 512, 28, 28), (16, 1024, 14, 14), (16, 2048, 7, 7))


class Eager(nn.Module):
    """The tail as everybody writes it."""

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
    """The tail on the passes."""

    def forward(self, x: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
        return norm_act(x, self.bn, self.se, shortcut)


def measure(
    shape: tuple[int, ...], type_: torch.dtype, repeats: int, compiled: bool = True
) -> dict[str, float]:
    """Milliseconds of a forward and backward, each form with and without SE, taken in turn."""
    layout = {"memory_format": torch.channels_last}
    x, shortcut, sent = (torch.randn(shape).to(type_).contiguous(**layout) for _ in range(3))
    x.requires_grad_()
    shortcut.requires_grad_()
    bn, se = nn.BatchNorm2d(shape[1]), SqueezeExcitation(shape[1])

    def call(tail: Callable[..., torch.Tensor]) -> Callable[[], None]:
        def run() -> None:
            tail(x, shortcut).backward(sent)
            x.grad = shortcut.grad = None

        return run

    forms: dict[str, Callable[..., torch.Tensor]] = {
        "SE fused": Fused(bn, se),
        "plain fused": Fused(bn, None),
    }
    if type_ == torch.float32:  # eager layers want one type; half precision is autocast's business
        forms |= {"SE eager": Eager(bn, se), "plain eager": Eager(bn, None)}
        if compiled:
            forms["SE compiled"] = torch.compile(Eager(bn, se))
    return in_turn({name: call(tail) for name, tail in forms.items()}, repeats)


def table(repeats: int) -> list[dict[str, object]]:
    """One row a shape and type."""
    rows = []
    for type_ in (torch.float32, torch.bfloat16):
        for shape in SHAPES:
            times = measure(shape, type_, repeats)
            rows.append({"shape": "×".join(map(str, shape)), "type": str(type_)[6:], "ms": times})
            print(rows[-1], flush=True)
    return rows
