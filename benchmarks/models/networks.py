"""Whole networks: a training step and inference, ours and timm's, with SE and without."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable

import torch
from torch import nn

from benchmarks import record
from benchmarks.reference_libraries import load
from senet import accelerate, create_model
from senet.models.describe.cost import forward_pass, in_turn, training_step


def _ours(name: str, fast: bool = True) -> nn.Module:
    model = create_model(name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if fast:
        accelerate(model)
    return model


def _timm(name: str) -> nn.Module:
    return load().timm.create_model(name).to(memory_format=torch.channels_last)


def _images(batch: int, size: int) -> torch.Tensor:
    return torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)


def imagenet(
    make: Callable[..., Callable[[], None]], batch: int, repeats: int, compiled: bool
) -> dict[str, float]:
    """Return the milliseconds at 224×224 of a ResNet-50 in every form, measured in turn."""
    images = _images(batch, 224)
    ours, plain = _ours("se_resnet50"), _ours("resnet50")
    calls = {
        "se_resnet50": make(ours, images),
        "resnet50": make(plain, images),
        "se_resnet50, eager": make(copy.deepcopy(ours), images),  # a copy is not accelerated
        "timm seresnet50": make(_timm("seresnet50"), images),
        "timm resnet50": make(_timm("resnet50"), images),
    }
    if compiled:
        calls["timm seresnet50, compiled"] = make(torch.compile(_timm("seresnet50")), images)
    return in_turn(calls, repeats)


def cifar(make: Callable[..., Callable[[], None]], batch: int, repeats: int) -> dict[str, float]:
    """Return the milliseconds at 32×32 of a ResNet-20 in every form, measured in turn."""
    images = _images(batch, 32)
    ours, plain = _ours("se_resnet20_cifar"), _ours("resnet20_cifar")
    return in_turn(
        {
            "se_resnet20_cifar": make(ours, images),
            "resnet20_cifar": make(plain, images),
            "se_resnet20_cifar, eager": make(copy.deepcopy(ours), images),
            "resnet20_cifar, eager": make(copy.deepcopy(plain), images),
        },
        repeats,
    )


def peak_memory(batch: int) -> dict[str, float]:
    """Return the peak MiB of three training steps of se_resnet50, each form in a new process."""
    code = (
        "import re; from benchmarks.models import networks as n;"
        f"step = n.training_step(n._ours('se_resnet50', {{fast}}), n._images({batch}, 224));"
        "status = lambda: open('/proc/self/status').read();"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', status())[1]) / 1024;"
        "before = peak(); [step() for _ in range(3)]; print(peak() - before)"
    )
    found = {}
    for name, fast in (("se_resnet50", True), ("se_resnet50, eager", False)):
        command = [sys.executable, "-c", code.format(fast=fast)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = float(done.stdout)
    return found


def with_default_allocator(repeats: int) -> dict[str, float]:
    """Time the training step in a process with the default allocator."""
    code = (
        "import json, torch; from benchmarks.models import networks as n; torch.set_num_threads(2);"
        f"print(json.dumps(n.imagenet(n.training_step, 16, {repeats}, compiled=False)))"
    )
    environment = {k: v for k, v in os.environ.items() if k not in record.KEEPING}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(repeats: int) -> dict[str, dict[str, float]]:
    """Return all measurements by name."""
    tables = {
        "training step, 224, batch 16": lambda: imagenet(training_step, 16, repeats, compiled=True),
        "training step, 224, batch 16, default allocator": lambda: with_default_allocator(repeats),
        "inference, 224, batch 1": lambda: imagenet(forward_pass, 1, 5 * repeats, compiled=False),
        "inference, 224, batch 16": lambda: imagenet(forward_pass, 16, repeats, compiled=False),
        "training step, CIFAR, batch 128": lambda: cifar(training_step, 128, 3 * repeats),
        "peak memory of training, 224, batch 16, MiB": lambda: peak_memory(16),
    }
    found = {}
    for name, make in tables.items():
        found[name] = make()
        print(name, {k: round(v, 2) for k, v in found[name].items()}, flush=True)
    return found
