"""The experiments that chose the default of ``senet compare``: ``make experiments``.

Every study trains a network and its plain twin, or a few settings of it, over several seeds on the
bundled images. The choice is made on the validation images; the test images are only reported.
Finished runs are kept, so that it can be stopped and started again at any time. See
docs/experiments.md.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import record
from senet.models import entry
from senet.runs.folder import RunFolder
from senet.training.config import TrainConfig
from senet.training.fit import fit
from senet.training.recipes import quick

FOLDER = Path("runs/experiments")
# The base that the studies vary: quick() as it was before them.
BASE = replace(quick(), options={}, epochs=8, lr=0.1)


def plain(model: str, **changes: Any) -> tuple[str, TrainConfig]:
    """Return the name and configuration of the network without SE."""
    name = entry(model).twin
    return name, replace(BASE, model=name, **changes)


def gated(model: str, bias: float = 2.0, **changes: Any) -> tuple[str, TrainConfig]:
    """Return those of the network with SE, whose gates start at the sigmoid of ``bias``."""
    options = {**changes.pop("options", {}), "gate_bias": bias}
    return f"{model}, gate bias {bias:g}", replace(BASE, model=model, options=options, **changes)


# The settings of each study, as names and configurations.
STUDIES: dict[str, list[tuple[str, TrainConfig]]] = {
    # Where should the gates start, in short training? From half open to nearly one.
    "gate": [
        plain("se_resnet8_cifar"),
        *(gated("se_resnet8_cifar", bias) for bias in (0.0, 1.0, 2.0, 3.0, 4.0)),
    ],
    # How fast should it learn?
    "rate": [
        (f"{name}, lr {lr:g}", replace(config, lr=lr))
        for lr in (0.05, 0.2, 0.4)
        for name, config in (plain("se_resnet8_cifar"), gated("se_resnet8_cifar"))
    ],
    # What is the best use of the time? Trainings of about equal duration: long, deep, wide.
    "size": [
        (f"{name}, {text}", config)
        for model, text, changes in (
            ("se_resnet8_cifar", "12 epochs", {"epochs": 12}),
            ("se_resnet20_cifar", "4 epochs", {"epochs": 4}),
            ("se_resnet8_cifar", "widths 32-64-128, 4 epochs",
             {"epochs": 4, "options": {"widths": (32, 64, 128)}}),
        )
        for name, config in (plain(model, **changes), gated(model, **changes))
    ],
}  # fmt: skip


def run(study: str, seeds: int) -> list[dict[str, object]]:
    """Return a row per setting: mean and deviation of the accuracies over the seeds."""
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):  # the outer loop, so that no setting is ahead when it is stopped
        for name, config in STUDIES[study]:
            place = FOLDER / study / f"{name.replace(', ', '-').replace(' ', '-')}-seed{seed}"
            result = fit(replace(config, seed=seed), place, resume=place.exists(), progress=False)
            last = RunFolder(place).read_table()[-1]
            found.setdefault(name, []).append(
                {
                    "val": float(last["val_accuracy"]),
                    "test": result.test_accuracy,
                    "seconds": result.train_seconds,
                }
            )
            print(f"{study}: {name}, seed {seed}: {found[name][-1]}", flush=True)
    return [{"setting": name, **_summary(runs)} for name, runs in found.items()]


def _summary(runs: list[dict[str, float]]) -> dict[str, float]:
    summary: dict[str, float] = {"seeds": len(runs)}
    for key in runs[0]:
        values = [run[key] for run in runs]
        summary[key] = statistics.mean(values)
        summary[f"{key} deviation"] = statistics.stdev(values) if len(values) > 1 else 0.0
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.experiments",
        description="How the default of `senet compare` was chosen.",
    )
    parser.add_argument("studies", nargs="*", default=list(STUDIES), help=", ".join(STUDIES))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    environment = record.environment()
    tables = {study: run(study, options.seeds) for study in options.studies}
    print(record.write(f"experiments-{'-'.join(options.studies)}", tables, environment))


if __name__ == "__main__":
    main()
