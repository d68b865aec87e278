"""CIFAR-100 with and without SE on one device, as many seeds as fit in the time.

The twins of a seed are trained side by side, each on its own CUDA stream, step by step in turn. The
recipe is that of :mod:`benchmarks.evidence.plan`, and so is the form of the rows. Nothing is chosen
by the test images: all training images are used, and the last epoch counts.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.evidence.plan import Training
from benchmarks.evidence.rows import packed
from benchmarks.evidence.train import open_whole
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.clock import wait
from benchmarks.gpu.images import Images, batches, on_device
from benchmarks.gpu.run import Run
from benchmarks.ledger import Ledger, Row
from senet.training.config import TrainConfig

DATA, NETWORK, REDUCTION = "cifar100", "resnet56_cifar", 16


def run(
    ledger: Ledger, budget: Budget, device: torch.device, data: Path | None, small: bool
) -> None:
    """Train seed after seed until the next would not end in time.

    Args:
        ledger: the record; what is in it is not trained again.
        budget: the time.
        device: the device.
        data: the folder of the data sets; ``None`` for the hub.
        small: take a small network, a few bundled images and one seed, to show that it runs.
    """
    images, taken = None, 0.0
    for seed in range(1) if small else itertools.count():
        twins = _small_twins(seed) if small else _twins(seed)
        if all(training.key in ledger for training in twins):
            continue
        if not budget.allows(taken):
            return
        if images is None:
            images = _images(twins[0], data, device, small)
        start = time.monotonic()
        if not _train(twins, images, ledger, budget):
            print(f"seed {seed}: not enough time is left for it", flush=True)
            return
        taken = time.monotonic() - start


def _twins(seed: int) -> list[Training]:
    return [Training(DATA, NETWORK, reduction, seed) for reduction in (None, REDUCTION)]


def _small_twins(seed: int) -> list[Training]:
    return [Training("fashion-mnist", "resnet8_cifar", r, seed, epochs=2) for r in (None, 4)]


def _images(training: Training, data: Path | None, device: torch.device, small: bool) -> Images:
    source = open_whole(training.data, None, 300) if small else open_whole(training.data, data)
    return on_device(source, training.config.crop_padding, device)


def _train(twins: Sequence[Training], images: Images, ledger: Ledger, budget: Budget) -> bool:
    """Train twins side by side; return whether they ended, which they do not without the time."""
    runs = [Run(_suited(training, images.train.device), images) for training in twins]
    curves: list[list[Row]] = [[] for _ in runs]
    seconds, epochs = 0.0, runs[0].config.epochs
    for done in range(1, epochs + 1):
        start = time.monotonic()
        for curve, row, run_ in zip(curves, epoch(runs, images), runs, strict=True):
            curve.append(row | _tested(run_))
        seconds += time.monotonic() - start
        losses = [curve[-1]["train_loss"] for curve in curves]
        said = ", ".join(f"{loss:.3f}" for loss in losses)
        print(f"epoch {done}/{epochs}: losses {said}, {seconds:.1f} s so far", flush=True)
        if not all(map(math.isfinite, losses)):
            break
        if not budget.allows(seconds / done * (epochs - done)):
            return False
    for training, run_, curve in zip(twins, runs, curves, strict=True):
        ledger.put(_row(training, run_, curve, seconds / len(runs)), training.key)
    return True


def _suited(training: Training, device: torch.device) -> TrainConfig:
    """Return the configuration; at small scale on a processor float32 is faster."""
    config = training.config
    return replace(config, precision="32") if device.type == "cpu" else config


def epoch(runs: Sequence[Run], images: Images) -> list[Row]:
    """Train one epoch of each, their steps in turn; they all take the same images."""
    device, count = images.train.device, len(images.labels)
    chosen = batches(runs[0].config, count, runs[0].epoch).to(device)
    wait(device)
    for step in range(runs[0].steps):
        for run_ in runs:
            run_.advance(step, chosen[step])
    wait(device)
    return [run_.end_epoch() for run_ in runs]


def _tested(run_: Run) -> Row:
    logits, labels = run_.evaluate(), run_.images.test_labels
    return {
        "test_loss": F.cross_entropy(logits, labels).item(),
        "test_accuracy": (logits.argmax(1) == labels).float().mean().item(),
    }


def _row(training: Training, run_: Run, curve: list[Row], seconds: float) -> Row:
    cuda = run_.device.type == "cuda"
    found: Row = {
        **training.key,
        "precision": run_.config.precision,
        "test_images": len(run_.images.test_labels),
        "seconds": seconds,
        "curve": curve,
        "config": run_.config.to_dict(),
        "device": torch.cuda.get_device_name(run_.device) if cuda else "cpu",
    }
    if len(curve) < run_.config.epochs or not math.isfinite(curve[-1]["train_loss"]):
        failed = f"a loss of the twins was not finite in epoch {len(curve)}"
        return {**found, "curve": curve[:-1], "failed": failed}
    right = run_.evaluate().argmax(1) == run_.images.test_labels
    return {
        **found,
        "test_accuracy": curve[-1]["test_accuracy"],
        "test_loss": curve[-1]["test_loss"],
        "right": packed(right.cpu().numpy()),
    }
