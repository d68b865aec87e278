"""How the default of ``senet compare`` was chosen: ``make experiments``; docs/experiments.md tells.

Every study trains a network and its plain twin, or a few settings of it, over several seeds on the
bundled images. What to choose is read off the validation images; the test images are only reported.
Finished runs are kept, so that it can be stopped and started again at any time.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import record
from senet.models import entry
from senet.training.config import TrainConfig
from senet.training.fit import fit
from senet.training.recipes import quick

FOLDER = Path("runs/experiments")
BASE = replace(quick(), options={}, epochs=8)


def twins(model: str, **changes: object) -> Iterator[tuple[str, TrainConfig]]:
    """An SE network with its usual gates, one with open gates, and the plain twin."""
    config = replace(BASE, model=model, **changes)  # type: ignore[arg-type]
    plain = entry(model).plain
    assert plain is not None
    yield plain, replace(config, model=plain)
    yield model, config
    yield f"{model}, gates open", replace(config, options={**config.options, "gate_bias": 2.0})


def gate_starts(model: str) -> Iterator[tuple[str, TrainConfig]]:
    """The bias of the gate at the start, from half open to nearly one."""
    for bias in (0.0, 1.0, 2.0, 3.0, 4.0):
        yield f"gate bias {bias:g}", replace(BASE, model=model, options={"gate_bias": bias})
    plain = entry(model).plain
    assert plain is not None
    yield "no gates (plain)", replace(BASE, model=plain)


def rates(model: str) -> Iterator[tuple[str, TrainConfig]]:
    for lr in (0.05, 0.1, 0.2, 0.4):
        for name in (model, entry(model).plain or model):
            options = {"gate_bias": 2.0} if name == model else {}
            yield f"{name}, lr {lr:g}", replace(BASE, model=name, options=options, lr=lr)


STUDIES = {
    "gate": list(gate_starts("se_resnet8_cifar")),
    "rate": list(rates("se_resnet8_cifar")),
    "depth": [*twins("se_resnet20_cifar")],
    "length": [*twins("se_resnet8_cifar", epochs=16)],
}


def run(study: str, seeds: int) -> list[dict[str, object]]:
    """One row a setting: mean and deviation of the accuracies over the seeds."""
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):  # the outer loop: whenever it is stopped, settings are level
        for name, config in STUDIES[study]:
            place = FOLDER / study / f"{name.replace(', ', '-').replace(' ', '-')}-seed{seed}"
            result = fit(replace(config, seed=seed), place, resume=place.exists(), progress=False)
            with (place / "metrics.csv").open() as file:
                last = list(csv.DictReader(file))[-1]
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
