"""The weights of the first seed as the project's own: ``make evidence-weights``.

The first by rule, not the best by test accuracy.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.evidence.plan import DATA, NETWORK, REDUCTIONS, SEEDS, Training
from benchmarks.evidence.rows import RECORDS
from senet import known
from senet.files import write_bytes, write_text
from senet.models.weights.file import read_record
from senet.runs.folder import RunFolder

CHOSEN = [Training(data, NETWORK, REDUCTIONS[0], SEEDS[0]) for data in reversed(DATA)]


def ship(training: Training, folder: Path, records: Path, to: Path) -> Path:
    """Write the weights of a finished training into the package, and their facts beside them.

    Args:
        training: the training.
        folder: the folder of the runs.
        records: the folder of the records.
        to: the folder to write to.

    Returns:
        the file of weights.

    Raises:
        FileNotFoundError: if it has not finished in that folder.
    """
    run, record = RunFolder(folder / training.name), records / f"{training.name}.json"
    if not run.finished or not record.exists():
        raise FileNotFoundError(
            f"{training.name} has not finished in {folder}: `make evidence` trains it"
        )
    name = f"{training.model}.{training.data}"
    path = to / f"{name}.safetensors"
    to.mkdir(parents=True, exist_ok=True)
    write_bytes(path, run.model_file.read_bytes())
    write_text(to / f"{name}.toml", _toml(_facts(training, path, json.loads(record.read_text()))))
    return path


def _facts(training: Training, weights: Path, record: dict) -> dict[str, object]:
    """Return the fields of a set, as ``published.toml`` has them."""
    known_of, environment = read_record(weights), record["environment"]
    p = known_of.preprocessing
    config = training.config
    return {
        "source": f"{known.SHIPPED}{weights.name}",
        "options": known_of.architecture.options,
        "num_classes": known_of.architecture.num_classes,
        "size": p.size,
        "crop": p.crop,
        "interpolation": p.interpolation,
        "mean": p.mean,
        "std": p.std,
        "licence": "apache-2.0",
        "top1": round(100 * record["tables"]["training"]["test_accuracy"], 2),
        "report": "docs/results.md",
        "trained": (
            f"by senet {environment['senet']} on all training images of {training.data}, "
            f"{config.epochs} epochs, seed {training.seed}, {config.precision}, "
            f"torch {environment['torch']}, {environment['date']}"
        ),
    }


def _toml(facts: dict[str, object]) -> str:
    """Return a table of TOML; its strings, numbers and lists are written as JSON writes them."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            inside = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items())
            lines.append(f"{key} = {{ {inside} }}")
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence.weights",
        description="Put the trained networks of the first seed into the package.",
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/evidence"), help="folder of the runs"
    )
    options = parser.parse_args(arguments)
    left = 0
    for training in CHOSEN:
        try:
            print(ship(training, options.folder, RECORDS, known.TRAINED))
        except FileNotFoundError as error:
            print(error, file=sys.stderr)
            left += 1
    return 1 if left == len(CHOSEN) else 0


if __name__ == "__main__":
    sys.exit(main())
