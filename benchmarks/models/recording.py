"""What it costs to record gates: ``python -m benchmarks.models.recording``.

Time over the bare forward pass, in turn, medians; memory for 1,000 classes, whose sums do not grow
with the images; and the size of the page of a ResNet-50 with 1,000 classes, whose weights are
random. The images are noise: none of the three depends on them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import record as records
from benchmarks.reference_libraries import load
from senet import create_model, explain
from senet.foreign import find_network
from senet.gates import blocks_of, record

CLASSES = 1000
NETWORKS = {"se_resnet50": (8, 224), "timm:seresnet50": (8, 224), "se_resnet20_cifar": (128, 32)}
"""Batch and side of the images."""


def batches(n: int, batch: int, side: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield labelled noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, side, side, generator=generator)
    for i in range(n):
        yield x, (i * batch + torch.arange(batch)) % CLASSES


def overhead(name: str, rounds: int) -> dict[str, float]:
    """Return seconds of the processor for a batch, bare and recorded, and the share between them.

    A round is a batch of each in turn. Seconds of the processor, because other programs do not
    count there.
    """
    batch, side = NETWORKS[name]
    model = find_network(name)[0].eval()
    blocks = blocks_of(model)
    seconds: dict[str, list[float]] = {"bare": [], "recorded": []}

    def timed(what: str, run: Callable[[], object]) -> None:
        start = time.process_time()
        run()
        seconds[what].append(time.process_time() - start)

    @torch.no_grad()
    def bare(x: Tensor) -> None:
        # The recording's hooks are on the blocks: without them the blocks run bare.
        hooks = [(m, m._forward_hooks.copy(), m._forward_pre_hooks.copy()) for m in model.modules()]
        for m, _, _ in hooks:
            m._forward_hooks.clear()
            m._forward_pre_hooks.clear()
        timed("bare", lambda: model(x))
        for m, after, before in hooks:
            m._forward_hooks.update(after)
            m._forward_pre_hooks.update(before)

    def in_turn() -> Iterator[tuple[Tensor, Tensor]]:
        for i, (x, labels) in enumerate(batches(rounds + 1, batch, side)):
            start = time.process_time()
            yield x, labels
            if i:  # the first batch also checks what the blocks do
                seconds["recorded"].append(time.process_time() - start)
                bare(x)

    record(model, in_turn(), CLASSES, blocks=blocks, examples=explain.EXAMPLES)
    found = {key: statistics.median(own) for key, own in seconds.items()}
    return found | {"share": found["recorded"] / found["bare"] - 1}


def memory(images: int) -> dict[str, float]:
    """Return the MB by which recording 1,000 classes of an SE-ResNet-50 raises the peak.

    Images of 32 pixels keep it short: what is recorded has the size of the channels.
    """
    model = create_model("se_resnet50").eval()
    with torch.no_grad():
        model(next(batches(1, 50, 32))[0])
    before = _peak()
    found = record(model, batches(images // 50, 50, 32), CLASSES, examples=explain.EXAMPLES)
    channels = sum(block.mean.shape[1] for block in found.values())
    return {
        "images": images,
        "MB": _peak() - before,
        "MB of sums": 4 * 8 * CLASSES * channels / 1e6,
    }


def _peak() -> float:
    """Return the peak of this process in MB, as Linux counts it."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def page_size() -> dict[str, float]:
    """Return the MB of the page of an SE-ResNet-50 on three images of each of 1,000 classes."""
    model: nn.Module = create_model("se_resnet50").eval()
    for name, parameter in model.named_parameters():
        if ".se." in name:  # new blocks have gates that hardly move
            nn.init.normal_(parameter, std=0.5)
    names = [f"class number {k} of a thousand" for k in range(CLASSES)]
    found = explain.network(model, _of_classes(), names)
    with tempfile.TemporaryDirectory() as folder:
        page = found.save(Path(folder) / "page")
        return {"MB": page.stat().st_size / 1e6}


def _of_classes() -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images whose colours are those of their class, so that gates tell classes apart."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.randn(CLASSES, 3, 1, 1, generator=generator)
    for i in range(3 * CLASSES // 50):
        labels = (50 * i + torch.arange(50)) % CLASSES
        yield colours[labels] + torch.randn(50, 3, 32, 32, generator=generator), labels


def _alone(call: str) -> dict[str, float]:
    """Return what a function of this file returns in a process of its own."""
    code = f"import json; from benchmarks.models import recording; print(json.dumps({call}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=int, default=5000)
    arguments = parser.parse_args()
    load()
    environment = records.environment()
    result: dict[str, object] = {
        "time": {name: overhead(name, arguments.rounds) for name in NETWORKS},
        "memory": [
            _alone(f"recording.memory({images})")
            for images in (arguments.images // 5, arguments.images)
        ],
        "page": _alone("recording.page_size()"),
    }
    print(json.dumps(result, indent=2))
    print(records.write("cpu-recording", result, environment))
