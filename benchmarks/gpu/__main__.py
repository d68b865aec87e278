"""Evidence from a GPU: ``python -m benchmarks.gpu``, or ``make gpu-evidence``.

Without a stage, it runs all of them in turn, the tests first: no speed counts if a test fails. It
does not repeat what is in the record already, so the same command continues where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import DEVELOPMENT_DATA, record
from benchmarks.gpu import machine, networks, passes, tails, tests, training, weights
from benchmarks.gpu.budget import Budget
from benchmarks.ledger import Ledger

# Each stage's share of the minutes that are left when it begins, if all are run.
SHARES = {"tests": 0.5, "passes": 0.1, "tails": 0.15, "networks": 0.45, "training": 1.0}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    made.add_argument(
        "stage", nargs="?", default="all", choices=["all", *SHARES, "weights"],
        help="one stage alone; `weights` writes the smallest trained network to --to",
    )  # fmt: skip
    made.add_argument("--minutes", type=float, default=25, help="time limit (25)")
    made.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    made.add_argument("--small", action="store_true", help="only show that all of it runs")
    made.add_argument(
        "--folder", type=Path,
        help="folder of records and checkpoints (benchmarks/results; checkpoints in runs/gpu)",
    )  # fmt: skip
    made.add_argument(
        "--retry", action="store_true", help="repeat what was begun and cut off, for any reason"
    )
    train = made.add_argument_group("training")
    train.add_argument("--data", type=Path, help="folder of cifar10 and cifar100 as mosaics")
    train.add_argument("--recipe", default="short", choices=["short", "paper"])
    train.add_argument("--epochs", type=int, help="epochs of the recipe (60, or 164)")
    train.add_argument("--seeds", type=int, default=3, help="seeds of every network (3)")
    train.add_argument("--precision", default="auto", choices=["auto", *training.PRECISIONS])
    made.add_argument("--to", type=Path, default=Path("."), help="where `weights` writes")
    return made


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        if options.stage == "weights":
            print(weights.export(_checkpoints(options), options.to))
            return 0
        return _measure(options)
    except (ValueError, FileNotFoundError, tests.RedError) as error:
        print(error, file=sys.stderr)
        return 1


def _measure(options: argparse.Namespace) -> int:
    budget = Budget(options.minutes)
    device = machine.require(options.device, options.small)
    environment = machine.environment(device)
    print(environment, flush=True)
    stages = list(SHARES) if options.stage == "all" else [options.stage]
    for stage in stages:
        share = SHARES[stage] if options.stage == "all" else 1.0
        ledger = Ledger(
            _records(options), f"gpu-{stage}", environment, machine.slug(environment, device),
            earlier=stage == "training",
        )  # fmt: skip
        if options.retry:
            ledger.forget_begun()
        print(f"{stage}: {ledger.path}", flush=True)
        _STAGES[stage](ledger, budget.part(share), device, options)
    return 0


def _train(
    ledger: Ledger, budget: Budget, device: torch.device, options: argparse.Namespace
) -> None:
    plan = training.Plan(
        recipe=options.recipe,
        epochs=options.epochs,
        seeds=tuple(range(options.seeds)),
        precision=options.precision,
        data=options.data or (DEVELOPMENT_DATA if DEVELOPMENT_DATA.is_dir() else None),
        folder=_checkpoints(options),
        small=options.small,
    )
    done = training.run(ledger, budget, device, plan)
    print("all trainings are done" if done else "time is up: the same command continues")


def _plain(
    run: Callable[[Ledger, Budget, torch.device, bool], None],
) -> Callable[[Ledger, Budget, torch.device, argparse.Namespace], None]:
    return lambda ledger, budget, device, options: run(ledger, budget, device, options.small)


_STAGES = {
    "tests": _plain(tests.run),
    "passes": _plain(passes.run),
    "tails": _plain(tails.run),
    "networks": _plain(networks.run),
    "training": _train,
}


def _records(options: argparse.Namespace) -> Path:
    """Return the folder of records; small scale is not evidence and never goes among them."""
    return options.folder or (Path("runs/gpu-small") if options.small else record.RESULTS)


def _checkpoints(options: argparse.Namespace) -> Path:
    return options.folder or Path("runs/gpu-small" if options.small else "runs/gpu")


if __name__ == "__main__":
    sys.exit(main())
