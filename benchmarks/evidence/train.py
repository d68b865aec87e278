"""A training by ``senet train``'s own :func:`~senet.training.fit.fit`, and the record of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks import record
from benchmarks.evidence.plan import Training
from benchmarks.evidence.rows import RECORDS, packed
from benchmarks.ledger import Row
from senet.data import Source, open_source
from senet.runs.folder import RunFolder, write_json
from senet.runs.predictions import Predictions
from senet.training.fit import fit

SECONDS_BETWEEN_LOOKS = 30


def open_whole(name: str, folder: Path | None, limit: int | None = None) -> Source:
    """Return a data set whose training images are all for training: none is held out.

    Args:
        name: ``"cifar10"``, ``"cifar100"``, or any name that :func:`senet.data.open_source` knows.
        folder: holds the data set as mosaics, in a folder of its name; ``None`` asks the hub.
        limit: most images in each split.

    Raises:
        ValueError: if the images cannot be opened.
    """
    place: str | Path = name
    if folder is not None:
        place = folder / name
        if not place.is_dir():
            raise ValueError(
                f"there are no images in {place}: name the folder that holds {name!r} with --data, "
                "or leave it out to get them from the Hugging Face hub"
            )
    return open_source(place, val_share=0.0, limit=limit)


def train(training: Training, source: Source, folder: Path, records: Path = RECORDS) -> Path:
    """Train, or go on with what was begun, and return the record.

    Raises:
        Interrupted: on Ctrl-C or SIGTERM, with a checkpoint; any other end costs at most an epoch.
    """
    run = RunFolder(folder / training.name)
    environment = record.environment()
    # For the curve alone: the last epoch counts, so nothing is chosen by these images.
    watched = replace(source, val=source.test)
    with processor_seconds(folder / f"{training.name}.json"):
        fit(replace(training.config, device="cpu"), run.path, watched, resume=run.begun)
    path = records / f"{training.name}.json"
    seconds = _spent(folder / f"{training.name}.json")
    record.keep(path, {"training": _row(training, run, seconds)}, environment)
    return path


@contextmanager
def processor_seconds(file: Path) -> Iterator[None]:
    """Add the processor time of this process to a file, every half minute and at the end.

    Unlike the clock it does not run while the process is suspended or others have the processor.
    A killed process loses half a minute of it; the steps that are then repeated count twice.
    """
    before, start, ended = _spent(file), time.process_time(), threading.Event()

    def write() -> None:
        write_json(file, {"processor_seconds": before + time.process_time() - start})

    def keep_writing() -> None:
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            write()

    writer = threading.Thread(target=keep_writing, daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
        write()


def _spent(file: Path) -> float:
    return json.loads(file.read_text())["processor_seconds"] if file.exists() else 0.0


def _row(training: Training, run: RunFolder, seconds: float) -> Row:
    result = run.read_result()
    return {
        **training.key,
        "precision": training.config.precision,
        "test_accuracy": result.test_accuracy,
        "test_loss": result.test_loss,
        "test_images": result.test_images,
        "right": packed(Predictions.read(run.predictions_file).right),
        "seconds": seconds,
        "clock_seconds": result.train_seconds,
        "step_ms": result.step_ms,
        "curve": [
            {
                "epoch": int(row["epoch"]),
                "train_loss": float(row["train_loss"]),
                "train_accuracy": float(row["train_accuracy"]),
                "test_loss": float(row["val_loss"]),
                "test_accuracy": float(row["val_accuracy"]),
                "clock_seconds": float(row["seconds"]),
            }
            for row in run.read_table()
        ],
        "config": run.read_config(),
    }
