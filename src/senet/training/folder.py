"""The folder of a training run: what is in it, and how it is written.

======================  ============================================================================
``config.json``         ``config`` (the TrainConfig), ``data`` and ``environment``
``metrics.csv``         a row an epoch
``checkpoints/``        ``last.ckpt`` to resume from, ``best.ckpt`` of the highest validation
                        accuracy; both of Lightning, to be read with ``weights_only=True``
``tensorboard/``        the same figures as the table, for TensorBoard
``model.safetensors``   the final weights, averaged ones where ``ema`` is on
``predictions.npz``     of the test images: ``labels`` ``[n]`` and ``logits`` ``[n, K]``
``result.json``         written last: a run that has it is finished
======================  ============================================================================

Every file is written aside and then renamed, so that none is ever half there.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from senet import files
from senet.training.config import TrainConfig

COLUMNS = (
    "epoch", "step", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds",
    "step_ms",
)  # fmt: skip
"""Of ``metrics.csv``: ``step`` counts the steps done by the end of the epoch, ``lr`` is of the last
of them, ``seconds`` is the training's without validation, ``step_ms`` the median over the epoch of
the time from one step's end to the next's."""


@dataclass(frozen=True)
class RunResult:
    """The figures of a finished run; ``result.json`` holds them.

    Attributes:
        folder: where the run is.
        model: its network.
        seed: its seed.
        test_accuracy: share of the test images whose highest logit is right.
        test_loss: mean cross-entropy on the test images.
        test_top5: share whose five highest logits hold the right one; for more than five classes.
        class_accuracy: accuracy on the test images of each class, by its name; ``None`` for a
            class without any.
        test_images: how many there were.
        epochs: passes over the training images.
        steps: optimizer steps.
        train_seconds: of training, validation and evaluation left out.
        step_ms: median over the epochs of ``metrics.csv``.
        best_epoch: of the highest validation accuracy, the first of them; ``None`` without
            validation images.
        best_val_accuracy: that accuracy.
    """

    folder: Path
    model: str
    seed: int
    test_accuracy: float
    test_loss: float
    test_images: int
    epochs: int
    steps: int
    train_seconds: float
    step_ms: float
    best_epoch: int | None = None
    best_val_accuracy: float | None = None
    test_top5: float | None = None
    class_accuracy: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run, and reading and writing of its small files."""

    path: Path

    @property
    def resume_command(self) -> str:
        return f"senet train --resume {shlex.quote(str(self.path))}"

    @property
    def config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def table_file(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.ckpt"

    @property
    def model_file(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def predictions_file(self) -> Path:
        return self.path / "predictions.npz"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    def require_unused(self) -> None:
        """Refuse a folder that holds anything.

        Raises:
            ValueError: if there is something in it, or a file is in its place.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise ValueError(self._taken())

    def create(self) -> None:
        """Make the folder, or raise an OSError if it cannot be made or written to."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".probe.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise type(error)(
                error.errno, f"cannot write to the output folder ({error.strerror})", str(self.path)
            ) from error

    def _taken(self) -> str:
        if not self.path.is_dir():
            return f"the output folder {self.path} is a file: name another"
        if self.result_file.exists():
            return f"{self.path} holds a finished run, which is never overwritten: name another"
        if (self.path / "comparison.json").exists():
            command = f"senet compare --resume {shlex.quote(str(self.path))}"
            return f"{self.path} holds a comparison: resume it (`{command}`), or name another"
        if self.config_file.exists():
            return (
                f"{self.path} holds a run that has not finished: resume it "
                f"(`{self.resume_command}`), or name another folder"
            )
        return f"the output folder {self.path} is not empty: name another, or empty it yourself"

    def require_space(self, needed: int) -> None:
        """Refuse to begin where the disk will not hold the run.

        Args:
            needed: bytes.

        Raises:
            OSError: naming what is free and what is needed.
        """
        place = self.path.absolute()
        free = shutil.disk_usage(next(p for p in (place, *place.parents) if p.exists())).free
        if free < needed:
            raise OSError(
                errno.ENOSPC,
                f"too little disk: this run needs about {_size(needed)} and {_size(free)} are "
                "free. Make room, or name an output folder on another disk",
                str(self.path),
            )

    def read_config(self) -> TrainConfig:
        """The configuration that the run was started with.

        Raises:
            FileNotFoundError: if the folder holds no run.
            ValueError: if the file is damaged.
        """
        return TrainConfig.from_dict(read_json(self.config_file)["config"])

    def read_data(self) -> dict[str, Any]:
        """What ``config.json`` says of the data; raises as :meth:`read_config`."""
        return read_json(self.config_file)["data"]

    def read_table(self) -> list[dict[str, str]]:
        """The rows of ``metrics.csv`` as text, none if there is no such file."""
        if not self.table_file.is_file():
            return []
        with self.table_file.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def write_table(self, rows: Sequence[Mapping[str, Any]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([row[name] for name in COLUMNS] for row in rows)
        files.write_text(self.table_file, text.getvalue())

    def read_predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels ``[n]`` and logits ``[n, K]`` of the test images."""
        with np.load(self.predictions_file, allow_pickle=False) as file:
            return file["labels"], file["logits"]

    def write_predictions(self, labels: np.ndarray, logits: np.ndarray) -> None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, labels=labels, logits=logits)
        files.write_bytes(self.predictions_file, buffer.getvalue())

    @property
    def finished(self) -> bool:
        return self.result_file.is_file()

    def read_result(self) -> RunResult:
        values = read_json(self.result_file)
        values.pop("finished")
        return RunResult(folder=self.path, **values)

    def write_result(self, result: RunResult) -> None:
        values = {k: v for k, v in asdict(result).items() if k != "folder"}
        write_json(self.result_file, {"finished": True, **values})


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file of a run holds.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is no run folder: it has no {path.name}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    r"""Write a JSON file of a run, whole or not at all. Not-a-number is refused: JSON has none.

    Names of files need not be text. A byte that is none is written as an escape of JSON, such as
    ``\udce9``, and read again as it was.
    """
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    files.write_bytes(path, text.encode("utf-8", "backslashreplace") + b"\n")


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
