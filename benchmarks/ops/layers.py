"""The two layers of a gate, as convolutions and as linear layers.

``python -m benchmarks.ops.layers`` shows whether :mod:`senet.fuse.rewrite` gains time by replacing
the former with the latter.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import record
from senet.fuse.rewrite import pointwise
from senet.models.describe.cost import in_turn

SHAPES = ((1, 256, 16), (1, 2048, 128), (16, 256, 16), (16, 2048, 128), (128, 16, 1), (128, 64, 4))
CALLS = 20  # a single call is too short to time


def measure(B: int, C: int, R: int, repeats: int) -> dict[str, float]:
    """Return the microseconds of each form, in inference and in forward plus backward."""
    z, sent = torch.randn(B, C, 1, 1, requires_grad=True), torch.randn(B, C, 1, 1)
    w1 = torch.randn(R, C, 1, 1, requires_grad=True)
    w2 = torch.randn(C, R, 1, 1, requires_grad=True)
    b1, b2 = torch.zeros(R, requires_grad=True), torch.zeros(C, requires_grad=True)

    def gate(layer: Callable[..., Tensor]) -> Tensor:
        return layer(layer(z, w1, b1).relu(), w2, b2).sigmoid()

    def training(layer: Callable[..., Tensor]) -> None:
        for _ in range(CALLS):
            torch.autograd.grad(gate(layer), (z, w1, b1, w2, b2), sent)

    @torch.inference_mode()
    def inference(layer: Callable[..., Tensor]) -> None:
        for _ in range(CALLS):
            gate(layer)

    calls = {}
    for form, layer in (("convolution", F.conv2d), ("linear", pointwise)):
        calls[f"training, {form}"] = lambda layer=layer: training(layer)
        calls[f"inference, {form}"] = lambda layer=layer: inference(layer)
    return {name: 1000 * ms / CALLS for name, ms in in_turn(calls, repeats).items()}


if __name__ == "__main__":
    record.keep_memory("benchmarks.ops.layers")
    torch.set_num_threads(2)
    environment = record.environment()
    rows = []
    for B, C, R in SHAPES:
        rows.append({"shape": f"{B}×{C}, R = {R}", "us": measure(B, C, R, 15)})
        print({**rows[-1], "us": {k: round(v) for k, v in rows[-1]["us"].items()}}, flush=True)
    print(record.write("cpu-layers", {"layers": rows}, environment))
