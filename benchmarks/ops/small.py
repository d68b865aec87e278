"""The size from which the passes pay off on the CPU: ``python -m benchmarks.ops.small``.

This times the tail of a residual branch on feature maps of growing size, on the passes and module
by module, in turn. ``LEAST`` of :mod:`senet.ops.backend` is where the passes begin to win.
"""

from __future__ import annotations

import torch
from torch import nn

from benchmarks import record
from benchmarks.ops.tails import Eager, Fused
from senet import SqueezeExcitation
from senet.models.describe.cost import in_turn
from senet.ops import backend

CHANNELS, SIDES = 256, (7, 14, 20, 28, 40, 56, 80, 112)
CALLS = 20  # a single call is too short to time


def measure(side: int, repeats: int) -> dict[str, float]:
    """Return the microseconds of each form on one image, in inference and forward plus backward."""
    layout = {"memory_format": torch.channels_last}
    x, shortcut, sent = (torch.randn(1, CHANNELS, side, side).contiguous(**layout) for _ in "xrd")
    x.requires_grad_()
    shortcut.requires_grad_()
    calls = {}
    for parts, se in (("SE", SqueezeExcitation(CHANNELS)), ("plain", None)):
        for form, tail in (("passes", Fused), ("modules", Eager)):
            step = tail(nn.BatchNorm2d(CHANNELS), se)
            calls[f"{parts}, training, {form}"] = _training(step, x, shortcut, sent)
            look = tail(nn.BatchNorm2d(CHANNELS), se).eval()
            calls[f"{parts}, inference, {form}"] = _inference(look, x, shortcut)
    with backend.use("native"):  # takes maps of any size
        return {name: 1000 * ms / CALLS for name, ms in in_turn(calls, repeats).items()}


def _training(tail, x, shortcut, sent):
    def run() -> None:
        for _ in range(CALLS):
            tail(x, shortcut).backward(sent)
            x.grad = shortcut.grad = None

    return run


def _inference(tail, x, shortcut):
    @torch.inference_mode()
    def run() -> None:
        for _ in range(CALLS):
            tail(x, shortcut)

    return run


def table(repeats: int) -> list[dict[str, object]]:
    """Return a row per size."""
    rows = []
    for side in SIDES:
        rows.append({"numbers": CHANNELS * side * side, "us": measure(side, repeats)})
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    record.keep_memory("benchmarks.ops.small")
    torch.set_num_threads(2)
    environment = record.environment()
    print(record.write("cpu-small", {"small": table(9)}, environment))
