"""The trainings of the evidence: ``python -m benchmarks.evidence``, or ``make evidence``.

It trains what has no record yet, one training after another on one thread; stopped or killed, the
same command goes on. `make evidence-pause` stops it. A training takes half an hour on a processor
that has nothing else to do. Where several processors have nothing else to do, start it several
times: each process takes trainings that no other is at.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import DEVELOPMENT_DATA, record
from benchmarks.evidence import running
from benchmarks.evidence.plan import Training, trainings
from benchmarks.evidence.rows import RECORDS
from benchmarks.evidence.train import open_whole, train
from senet.data import Source
from senet.training.fit import DivergenceError, Interrupted


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    made.add_argument(
        "training", nargs="*", metavar="TRAINING",
        help="names of trainings, as records have them (all that have no record)",
    )  # fmt: skip
    made.add_argument(
        "--folder", type=Path, default=Path("runs/evidence"),
        help="folder of the runs and their checkpoints (runs/evidence)",
    )  # fmt: skip
    made.add_argument("--data", type=Path, help="folder of cifar10 and cifar100 as mosaics")
    return made


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    data = options.data or (DEVELOPMENT_DATA if DEVELOPMENT_DATA.is_dir() else None)
    try:
        running.give_way()
        train_missing(chosen(options.training), options.folder, data)
    except (ValueError, OSError, DivergenceError) as error:
        print(error, file=sys.stderr)
        return 1
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    return 0


def chosen(names: list[str]) -> list[Training]:
    """Return the trainings of these names, or all.

    Raises:
        ValueError: if there is no training of a name.
    """
    known = {training.name: training for training in trainings()}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no training {', '.join(unknown)}: there are {', '.join(known)}")
    return [known[name] for name in names or known]


def train_missing(wanted: Sequence[Training], folder: Path, data: Path | None) -> None:
    """Train what has no record yet and no other process is at."""
    with running.held(running.of_folder(folder)) as mine:
        if not mine:
            raise ValueError(
                f"another process holds {folder}: `make evidence-pause EVIDENCE={folder}` stops it"
            )
    opened: dict[str, Source] = {}
    for training in wanted:
        with running.held(running.of_training(folder, training.name)) as mine:
            if (RECORDS / f"{training.name}.json").exists():
                continue
            if not mine:
                print(f"{training.name}: another process is at it", flush=True)
                continue
            if training.data not in opened:
                opened = {training.data: open_whole(training.data, data)}
            print(f"\n{training.name}", flush=True)
            print(train(training, opened[training.data], folder), flush=True)


if __name__ == "__main__":
    record.keep_memory("benchmarks.evidence")
    torch.set_num_threads(1)
    sys.exit(main())
