"""From when :func:`senet.for_inference` pays, and in what pieces it works.

``python -m benchmarks.models.thresholds`` shows what two constants were chosen by, in float32,
channels last, on two threads: ``WORTH`` of :mod:`senet.fuse.worth`, after how many images an export
has paid for itself, and ``PIECE`` of :mod:`senet.fuse.freeze`, how many images of a batch run
together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch

from benchmarks import record
from benchmarks.models.networks import _images
from senet import create_model, for_inference
from senet.fuse import freeze
from senet.models.describe.cost import forward_pass, in_turn

# The networks of the first table, each with its number of images at a time and their size.
EXPORTED = (("se_resnet50", 16, 224), ("se_resnet18", 16, 224), ("se_resnet20_cifar", 128, 32))
PIECES = (18, 20, 21, 22, 23, 24)


def exports(repeats: int) -> list[dict[str, Any]]:
    """Return the seconds of an export, and the milliseconds of an image without and with it."""
    rows = []
    for name, batch, side in EXPORTED:
        model = create_model(name).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = _images(batch, side)
        begun = time.perf_counter()
        fast = for_inference(model, x[:2], any_size=False)
        seconds = time.perf_counter() - begun
        forms = {"as it is": forward_pass(model, x), "exported": forward_pass(fast, x)}
        ms = {form: whole / batch for form, whole in in_turn(forms, repeats).items()}
        gain = (ms["as it is"] - ms["exported"]) / 1000
        images = math.ceil(seconds / gain) if gain > 0 else None
        rows.append({"network": name, "size": side, "export, s": seconds, "ms": ms})
        rows[-1] |= {"images": images, "positions": images and images * side**2}
        print(rows[-1], flush=True)
    return rows


def pieces(repeats: int) -> list[dict[str, Any]]:
    """Return the milliseconds of SE-ResNet-50 on 16 images, by the largest map of a piece."""
    fast, x = for_inference(create_model("se_resnet50")), _images(16, 224)

    def in_pieces(of: int) -> Callable[[], None]:
        @torch.inference_mode()
        def run() -> None:
            with mock.patch.object(freeze, "PIECE", of):
                fast(x)

        return run

    ms = in_turn({f"2^{k}": in_pieces(1 << k) for k in PIECES}, repeats)
    rows = [{"numbers": numbers, "ms": value} for numbers, value in ms.items()]
    print(*rows, sep="\n", flush=True)
    return rows


if __name__ == "__main__":
    torch.set_num_threads(2)
    environment = record.environment()
    tables = {"exports": exports(5), "pieces": pieces(5)}
    print(record.write("cpu-thresholds", tables, environment))
