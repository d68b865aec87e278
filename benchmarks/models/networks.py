"""Whole networks in the process that people have: training steps and inference, ours and timm's.

``python -m benchmarks.models.networks``: channels last, float32 unless said, two threads, the
allocator that everybody has; the training step once more with one that keeps its memory. What is
compared is taken in turn in one process, by medians. Limits stand beside: the convolutions of the
network alone, which nobody here makes faster.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
from collections.abc import Callable

import torch
from torch import nn

from benchmarks import record
from benchmarks.reference_libraries import load
from senet import accelerate, create_model, for_inference
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


def training(batch: int, repeats: int) -> dict[str, float]:
    """Return the milliseconds of a training step at 224×224 of a ResNet-50 in every form."""
    images = _images(batch, 224)
    ours, plain = _ours("se_resnet50"), _ours("resnet50")
    forms = {
        "se_resnet50": ours,
        "resnet50": plain,
        "se_resnet50, eager": copy.deepcopy(ours),  # a copy is not accelerated
        "timm seresnet50": _timm("seresnet50"),
        "timm resnet50": _timm("resnet50"),
        "timm seresnet50, inductor": torch.compile(_timm("seresnet50")),
    }
    calls = {name: training_step(form, images) for name, form in forms.items()}  # type: ignore[arg-type]
    calls["limit: the convolutions of resnet50 alone"] = _convolutions(
        create_model("resnet50"), images
    )
    return in_turn(calls, repeats)


def inference(batch: int, repeats: int) -> dict[str, float]:
    """Return the milliseconds of inference at 224×224 of a ResNet-50 in every form."""
    images = _images(batch, 224)
    ours, plain = _ours("se_resnet50"), _ours("resnet50")
    forms = {
        "se_resnet50, for_inference": for_inference(ours),
        "resnet50, for_inference": for_inference(plain),
        "se_resnet50, for_inference in bfloat16": for_inference(ours, dtype=torch.bfloat16),
        "resnet50, for_inference in bfloat16": for_inference(plain, dtype=torch.bfloat16),
        "se_resnet50": ours,
        "resnet50": plain,
        "se_resnet50, eager": copy.deepcopy(ours),
        "timm seresnet50": _timm("seresnet50"),
        "timm resnet50": _timm("resnet50"),
    }
    calls = {name: forward_pass(form, images) for name, form in forms.items()}
    for name in ("seresnet50", "resnet50"):
        calls[f"timm {name}, inductor with freezing"] = _frozen_by_inductor(_timm(name), images)
    return in_turn(calls, repeats)


def _frozen_by_inductor(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    from torch._inductor import config

    run = torch.compile(model.eval())

    @torch.inference_mode()
    def call() -> None:
        run(images)

    with config.patch(freezing=True):
        call()
    return call


def _convolutions(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    """Return a call of all convolutions of ``model`` forward and backward, one after the other."""
    inputs: list[tuple[nn.Module, torch.Tensor]] = []
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    hooks = [
        layer.register_forward_pre_hook(lambda m, given: inputs.append((m, given[0].detach())))
        for layer in layers
    ]
    model.to(memory_format=torch.channels_last)(images)  # type: ignore[call-overload]
    for hook in hooks:
        hook.remove()

    def call() -> None:
        for layer, x in inputs:
            x = x.detach().requires_grad_(x is not inputs[0][1])
            y = layer(x)
            y.backward(torch.empty_like(y).zero_())
        model.zero_grad()

    return call


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


def with_memory_kept(repeats: int) -> dict[str, float]:
    """Time the training step in a process that keeps its memory."""
    code = (
        "import json, torch, senet; senet.keep_memory();"
        "from benchmarks.models import networks as n; torch.set_num_threads(2);"
        f"print(json.dumps(n.training(16, {repeats})))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(repeats: int) -> dict[str, dict[str, float]]:
    """Return all measurements by name."""
    tables = {
        "training step, 224, batch 16": lambda: training(16, repeats),
        "training step, 224, batch 16, keep_memory()": lambda: with_memory_kept(repeats),
        "inference, 224, batch 1": lambda: inference(1, 4 * repeats),
        "inference, 224, batch 16": lambda: inference(16, repeats),
        "training step, CIFAR, batch 128": lambda: cifar(training_step, 128, 3 * repeats),
        "peak memory of training, 224, batch 16, MiB": lambda: peak_memory(16),
    }
    found = {}
    for name, make in tables.items():
        found[name] = make()
        print(name, {k: round(v, 2) for k, v in found[name].items()}, flush=True)
        torch._dynamo.reset()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the median is kept (5)")
    options = parser.parse_args()
    torch.set_num_threads(2)
    environment = record.environment()
    print(record.write("cpu-networks", {"networks": table(options.repeats)}, environment))
