"""CIFAR-10 and CIFAR-100 with and without SE: several trainings on one device, seed by seed.

All trainings of a group, the twins of one depth with every seed, run side by side, each on its own
CUDA stream, step by step in turn; so whenever the time is up, none is ahead. More important groups
are finished before the next begins. Nothing is chosen by the test images: all training images are
used, the last epoch counts, and the weights of the first seed are kept.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.gpu.budget import Budget
from benchmarks.gpu.clock import wait
from benchmarks.gpu.images import Images, batches, open_images
from benchmarks.gpu.run import Run, read
from benchmarks.gpu.weights import keep
from benchmarks.ledger import Ledger, Row
from senet.models import entry
from senet.training.config import TrainConfig
from senet.training.recipes import cifar

GROUPS = (("cifar100", 56), ("cifar10", 20), ("cifar100", 110), ("cifar10", 110), ("cifar10", 56))
"""Data set and depth, in the order of importance."""
EVERY = 5
"""The epochs between checkpoints, and between evaluations on the test images."""
PRECISIONS = ("bf16-mixed", "32")


@dataclass(frozen=True)
class Plan:
    """What to train.

    Attributes:
        recipe: ``"paper"`` or ``"short"``, see :func:`recipe`.
        epochs: number of epochs; ``None`` for that of the recipe.
        seeds: the seeds; each gives one training of every network.
        precision: ``"32"``, ``"bf16-mixed"``, or ``"auto"`` for the faster one, as measured.
        data: the folder of the data sets; ``None`` for the hub.
        folder: the folder of the checkpoints.
        small: take a small network and a few bundled images, to show that it runs.
    """

    recipe: str
    epochs: int | None
    seeds: tuple[int, ...]
    precision: str
    data: Path | None
    folder: Path
    small: bool = False

    def groups(self) -> Iterator[list[TrainConfig]]:
        """Yield the trainings, group by group, with twins of one seed next to each other."""
        base = recipe(self.recipe, self.epochs)
        if self.small:
            base = replace(base, data="fashion-mnist", limit=300, batch_size=32, crop_padding=2)
            yield self._twins(base, "se_resnet8_cifar")
            return
        for data, depth in GROUPS:
            # He et al. warm up only this one; the one-cycle schedule begins gently by itself.
            warmup = 1.0 if depth == 110 and base.schedule == "step" else 0.0
            yield self._twins(replace(base, data=data, warmup=warmup), f"se_resnet{depth}_cifar")

    def _twins(self, base: TrainConfig, model: str) -> list[TrainConfig]:
        return [
            replace(base, model=name, seed=seed)
            for seed in self.seeds
            for name in (model, entry(model).twin)
        ]


def recipe(name: str, epochs: int | None = None) -> TrainConfig:
    """Return the configuration of a recipe.

    ``"paper"`` is :func:`senet.training.recipes.cifar`: 164 epochs, lr 0.1, divided by ten after
    half and again after three quarters. ``"short"`` is one cycle of 60 epochs up to lr 0.2, weight
    decay 5e-4. Both use batches of 128, Nesterov momentum 0.9, shifts and flips.

    Raises:
        ValueError: for any other name.

    Example:
        >>> recipe("paper", 40).milestones, recipe("short").epochs
        ((20, 30), 60)
    """
    if name == "paper":
        length = epochs or cifar().epochs
        return replace(cifar(), epochs=length, milestones=(length // 2, 3 * length // 4))
    if name != "short":
        raise ValueError(f"recipe must be 'paper' or 'short', got {name!r}")
    return replace(
        cifar(), epochs=epochs or 60, schedule="onecycle", milestones=(), lr=0.2, weight_decay=5e-4
    )


def key(config: TrainConfig, plan: Plan) -> Row:
    """Return the key of a finished training."""
    return {
        "data": config.data,
        "model": config.model,
        "seed": config.seed,
        "recipe": f"{plan.recipe}, {config.epochs} epochs",
    }


def run(ledger: Ledger, budget: Budget, device: torch.device, plan: Plan) -> bool:
    """Train what is missing from the record until time is up; return whether all is done."""
    open_: dict[str, Images] = {}
    for group in plan.groups():
        left = [config for config in group if key(config, plan) not in ledger]
        if not left:
            continue
        if not budget.allows():
            return False
        name = left[0].data
        if name not in open_:
            open_.clear()
            folder = None if plan.small else plan.data
            open_[name] = open_images(name, folder, left[0], device)
        if not _train(left, open_[name], ledger, budget, plan):
            return False
    return True


def _train(
    configs: Sequence[TrainConfig], images: Images, ledger: Ledger, budget: Budget, plan: Plan
) -> bool:
    runs = {run: _place(run.config, plan) for run in _opened(configs, images, plan)}
    taken = 0.0
    while left := [run for run in runs if not run.finished]:
        if not budget.allows(1.5 * taken + 10):
            for run in left:
                run.save(runs[run])
            return False
        last = min(run.epoch for run in left)
        level = [run for run in left if run.epoch == last]
        start = time.monotonic()
        rows = _epoch(level, images)
        taken = time.monotonic() - start
        for run, row in zip(level, rows, strict=True):
            run.seconds += taken / len(level)
            _look(run, row, runs[run], ledger, plan)
            if not math.isfinite(row["train_loss"]):
                del runs[run]
        _say(level, rows, taken)
    return True


def _opened(configs: Sequence[TrainConfig], images: Images, plan: Plan) -> list[Run]:
    """Return the trainings, new or from their checkpoints, all in one precision."""
    states = [read(_place(config, plan), config) for config in configs]
    begun = {state["config"]["precision"] for state in states if state}
    precision = begun.pop() if begun else _precision(configs[0], images, plan)
    runs = []
    for config, state in zip(configs, states, strict=True):
        runs.append(Run(replace(config, precision=precision), images))
        if state:
            runs[-1].load(state)
    return runs


def _precision(config: TrainConfig, images: Images, plan: Plan) -> str:
    if plan.precision != "auto":
        return plan.precision
    if images.train.device.type == "cpu":
        return "32"
    times = {p: Run(replace(config, precision=p), images).step_ms for p in PRECISIONS}
    print("ms a step: " + ", ".join(f"{p} {ms:.2f}" for p, ms in times.items()), flush=True)
    return min(times, key=times.__getitem__)


def _place(config: TrainConfig, plan: Plan) -> Path:
    return plan.folder / f"{config.data}-{config.model}-seed{config.seed}.pt"


def _epoch(runs: Sequence[Run], images: Images) -> list[Row]:
    """Train one epoch of each, their steps in turn."""
    device, count = images.train.device, len(images.labels)
    # Twins of one seed take the same images.
    drawn = {r.config.seed: batches(r.config, count, r.epoch).to(device) for r in runs}
    wait(device)
    for step in range(runs[0].steps):
        for run in runs:
            run.advance(step, drawn[run.config.seed][step])
    wait(device)
    return [run.end_epoch() for run in runs]


def _look(run: Run, row: Row, place: Path, ledger: Ledger, plan: Plan) -> None:
    """Add a curve point and a checkpoint every few epochs, and the result at the end."""
    if not math.isfinite(row["train_loss"]):
        ledger.put(_result(run, plan, diverged=run.epoch), key(run.config, plan))
        place.unlink(missing_ok=True)
        return
    if run.epoch % EVERY and not run.finished:
        return
    logits, labels = run.evaluate(), run.images.test_labels
    right = logits.argmax(1) == labels
    row |= {
        "test_loss": F.cross_entropy(logits, labels).item(),
        "test_accuracy": right.float().mean().item(),
    }
    run.curve.append(row)
    if not run.finished:
        run.save(place)
        return
    row = _result(run, plan, right=packed(right.cpu().numpy()), test_images=len(labels))
    if entry(run.config.model).has_se and run.config.seed == plan.seeds[0]:
        keep(run, place.with_suffix(".safetensors"))
    ledger.put(row, key(run.config, plan))
    place.unlink(missing_ok=True)


def _result(run: Run, plan: Plan, **found: object) -> Row:
    environment = run_environment(run)
    last = run.curve[-1] if run.curve else {}
    return {
        **key(run.config, plan),
        **{name: last.get(name) for name in ("test_accuracy", "test_loss")},
        "seconds": run.seconds,
        "step_ms": run.step_ms,
        "precision": run.config.precision,
        "config": run.config.to_dict(),
        "curve": run.curve,
        **environment,
        **found,
    }


def run_environment(run: Run) -> Row:
    """Return the device and day of a training: a record has results of several."""
    cuda = run.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(run.device) if cuda else "cpu",
        "torch": torch.__version__,
        "day": time.strftime("%Y-%m-%d"),
    }


def packed(right: np.ndarray) -> str:
    """Return which test images were right, as text with one bit per image.

    Example:
        >>> unpacked(packed(np.array([True, False, True])), 3)
        array([ True, False,  True])
    """
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpacked(text: str, images: int) -> np.ndarray:
    """Return the booleans of :func:`packed`, ``[images]``."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))
    return bits[:images].astype(bool)


def _say(runs: Sequence[Run], rows: Sequence[Row], seconds: float) -> None:
    losses = ", ".join(f"{row['train_loss']:.3f}" for row in rows)
    config = runs[0].config
    print(
        f"{config.data}, epoch {runs[0].epoch}/{config.epochs} of {len(runs)} trainings: "
        f"losses {losses}, {seconds:.1f} s",
        flush=True,
    )
