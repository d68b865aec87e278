"""Whether squeezing before a 1×1 convolution is cheaper: ``python -m benchmarks.ops.early``.

mean(W h + b) = W mean(h) + b, so the squeeze can read W and h, which is a quarter of the feature
map in a bottleneck. This times the tail of a bottleneck in inference both ways, in turn;
``_mean_before`` of :mod:`senet.fuse.rewrite` says where the early squeeze begins to win.
"""

from __future__ import annotations

import torch
from torch import nn

from benchmarks import record
from benchmarks.ops.tails import gates_of, norm_of
from senet import SqueezeExcitation
from senet.models.describe.cost import in_turn
from senet.ops.tail import mean_after, norm_scale, norm_squeeze

WIDTHS, SIDES, BATCHES = (256, 512, 1024, 2048), (7, 14, 28, 56), (1, 4, 16)


def measure(shape: tuple[int, int, int], repeats: int) -> dict[str, float]:
    """Return the milliseconds of the tail with the squeeze after and before the convolution."""
    batch, C, side = shape
    conv, bn, se = (
        nn.Conv2d(C // 4, C, 1, bias=False),
        nn.BatchNorm2d(C).eval(),
        SqueezeExcitation(C),
    )
    layout = {"memory_format": torch.channels_last}
    h = torch.randn(batch, C // 4, side, side).contiguous(**layout)
    shortcut = torch.randn(batch, C, side, side).contiguous(**layout)

    def tail(x: torch.Tensor, mean: torch.Tensor | None) -> None:
        squeezed = norm_squeeze(x, norm_of(bn), mean=mean)
        norm_scale(squeezed, gates_of(se, squeezed), shortcut, True)

    def late() -> None:
        tail(conv(h), None)

    def early() -> None:
        tail(conv(h), mean_after(h, conv.weight.flatten(1), None))

    with torch.inference_mode():
        return in_turn({"after": late, "before": early}, repeats)


def table(repeats: int) -> list[dict[str, object]]:
    """Return a row per shape of a ResNet-50: batch, channels, side."""
    rows = []
    for batch in BATCHES:
        for C, side in zip(WIDTHS, reversed(SIDES), strict=True):
            ms = measure((batch, C, side), repeats)
            rows.append(
                {"shape": f"{batch}×{C}×{side}×{side}", "BN/C": batch * side**2 / C, "ms": ms}
            )
            print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    record.keep_memory("benchmarks.ops.early")
    torch.set_num_threads(2)
    environment = record.environment()
    print(record.write("cpu-early", {"early": table(25)}, environment))
