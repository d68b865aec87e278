"""Pointwise convolutions in inference: ``python -m benchmarks.ops.pointwise``.

Those that end the bottlenecks of a ResNet-50, in float32 and bfloat16, ours against oneDNN's, which
inductor with freezing calls too; both have packed weights, add the shortcut and end with a ReLU.
With SE, ours has the gates inside; after oneDNN's comes a pass.
"""

from __future__ import annotations

import itertools

import torch

from benchmarks import record
from senet.fuse.convolution import Convolution
from senet.fuse.gated import GatedOutput
from senet.models.describe.cost import in_turn
from senet.ops import backend
from senet.ops.gate import Gate, gates_of, rescale

WIDTHS, SIDES, BATCHES = (256, 512, 1024, 2048), (56, 28, 14, 7), (1, 4, 16)
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BYTES = 32 << 20  # of weights that go by between two calls of one layer, as in a network


def measure(dtype: torch.dtype, batch: int, C: int, side: int, repeats: int) -> dict[str, float]:
    """Return the microseconds of a convolution from C/4 to C channels in every form."""
    last = torch.channels_last
    h = torch.randn(batch, C // 4, side, side, dtype=dtype).contiguous(memory_format=last)
    shortcut = torch.randn(batch, C, side, side, dtype=dtype).contiguous(memory_format=last)
    number = min(BYTES // (C * C), 16)
    weights = [torch.randn(C, C // 4, 1, 1, dtype=dtype) / C**0.5 for _ in range(number)]
    R, bias = C // 16, torch.zeros(C, dtype=dtype)
    gate = Gate(
        *(torch.randn(R, C, dtype=dtype) / C**0.5, torch.zeros(R, dtype=dtype), "relu"),
        *(torch.randn(C, R, dtype=dtype) / R**0.5, bias, "sigmoid"),
    )
    plain = [Convolution(W, bias, activation="relu") for W in weights]
    bare = [Convolution(W, bias) for W in weights]
    gated = [GatedOutput(W, bias, gate, True) for W in weights]
    for conv in (*plain, *gated):
        conv.overwrites, conv.ours = True, (dtype,)

    def one_dnn() -> None:
        with backend.use("eager"):
            for conv in plain:
                conv(h, shortcut)

    def one_dnn_then_a_pass() -> None:
        for conv, of in zip(bare, gated, strict=True):
            with backend.use("eager"):
                u = conv(h)
            rescale(u, gates_of(h, of.gate), shortcut, True, inplace=True)

    def ours() -> None:
        for conv in plain:
            conv(h, shortcut)

    def ours_with_se() -> None:
        for conv in gated:
            conv(h, shortcut)

    calls = {
        "oneDNN": one_dnn,
        "ours": ours,
        "oneDNN, SE in a pass": one_dnn_then_a_pass,
        "ours, SE inside": ours_with_se,
    }
    with torch.inference_mode():
        return {name: 1000 * ms / number for name, ms in in_turn(calls, repeats).items()}


if __name__ == "__main__":
    record.keep_memory("benchmarks.ops.pointwise")
    torch.set_num_threads(2)
    environment = record.environment()
    rows = []
    for (name, dtype), batch in itertools.product(TYPES.items(), BATCHES):
        for C, side in zip(WIDTHS, SIDES, strict=True):
            us = measure(dtype, batch, C, side, 15)
            shape = f"{batch}×{side}×{side}, {C // 4} to {C}"
            rows.append({"shape": shape, "type": name, "us": us})
            print({**rows[-1], "us": {k: round(v) for k, v in us.items()}}, flush=True)
    print(record.write("cpu-pointwise", {"pointwise": rows}, environment))
