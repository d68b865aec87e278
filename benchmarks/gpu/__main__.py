"""Evidence from a GPU within a quarter of an hour: ``python -m benchmarks.gpu``.

Without a stage, it runs all of them in turn, each in its own process and within its own minutes:
whatever happens to one, the next begins. Every row is in the record as soon as it is measured, and
is not measured again, so the same command continues where it was stopped. If a test of the kernels
fails, nothing is measured with them: the other stages run on plain PyTorch, and say so.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu.budget import Budget

# The minutes of each stage, if all are run; the last has what is left.
STAGES = {"tests": 3.0, "passes": 0.75, "tails": 1.25, "networks": 3.0, "training": float("inf")}
GRACE = 20
"""Seconds that a stage has to end by itself, after its minutes are over."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    made.add_argument("stage", nargs="?", choices=STAGES, help="one stage alone")
    made.add_argument("--minutes", type=float, default=14, help="time limit of it all (14)")
    made.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    made.add_argument("--small", action="store_true", help="only show that all of it runs")
    made.add_argument("--folder", type=Path, help="folder of the records (benchmarks/results)")
    made.add_argument(
        "--retry", action="store_true", help="repeat what was begun and cut off, for any reason"
    )
    made.add_argument("--data", type=Path, help="folder of cifar100 as mosaics")
    return made


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(arguments)
    try:
        budget = Budget(options.minutes)
        if options.stage is None:
            return _all(arguments, budget)
        return _one(options, budget)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1


def _all(arguments: list[str], budget: Budget) -> int:
    """Run every stage in a process of its own; return whether one of them failed."""
    environment, worst = dict(os.environ), 0
    for stage, minutes in STAGES.items():
        seconds = min(60 * minutes, budget.left - GRACE)
        if seconds <= 0:
            print(f"{stage}: no time is left")
            continue
        limit = ["--minutes", f"{seconds / 60:.2f}"]
        command = [sys.executable, "-m", "benchmarks.gpu", stage, *arguments, *limit]
        try:
            done = subprocess.run(
                command, env=environment, timeout=seconds + GRACE, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            print(f"{stage}: cut off after {seconds + GRACE:.0f} s", flush=True)
            done = 1
        if stage == "tests" and done:
            print("The kernels are not right here: all else runs without them.", flush=True)
            environment["SENET_BACKEND"] = "eager"
        worst = max(worst, done)
    return worst


def _one(options: argparse.Namespace, budget: Budget) -> int:
    from benchmarks import DEVELOPMENT_DATA, record
    from benchmarks.gpu import machine, networks, passes, tails, tests, training
    from benchmarks.ledger import Ledger

    device = machine.require(options.device, options.small)
    environment = machine.environment(device)
    # Small scale is not evidence and never goes among it.
    records = options.folder or (Path("runs/gpu-small") if options.small else record.RESULTS)
    ledger = Ledger(
        records, f"gpu-{options.stage}", environment, machine.slug(environment, device),
        earlier=options.stage == "training",
    )  # fmt: skip
    if options.retry:
        ledger.forget_begun()
    print(f"{options.stage}: {ledger.path}", flush=True)
    if options.stage == "tests":
        return 0 if tests.run(ledger, budget, options.small) else 1
    if options.stage == "training":
        data = options.data or (DEVELOPMENT_DATA if DEVELOPMENT_DATA.is_dir() else None)
        training.run(ledger, budget, device, data, options.small)
        return 0
    stage = {"passes": passes, "tails": tails, "networks": networks}[options.stage]
    stage.run(ledger, budget, device, options.small)
    return 0


if __name__ == "__main__":
    sys.exit(main())
