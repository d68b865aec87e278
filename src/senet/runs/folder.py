"""The folder of one training run: its paths, and its small files."""

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

from senet import files

MODEL = "model.safetensors"
COMPARISON = "comparison.json"
COLUMNS = (
    "epoch", "step", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds",
    "step_ms",
)  # fmt: skip
"""The columns of ``metrics.csv``: ``step`` counts the steps done by the end of the epoch, ``lr`` is
the learning rate of the last of them, ``seconds`` is the time of training without validation, and
``step_ms`` is the median time over the epoch from the end of one step to the end of the next."""


@dataclass(frozen=True)
class RunResult:
    """The figures of a finished run; ``result.json`` holds them.

    Attributes:
        folder: the run folder.
        model: name of the network.
        seed: seed of the run.
        test_accuracy: share of the test images whose right class has the highest logit.
        test_loss: mean cross-entropy on the test images.
        test_top5: share whose right class has one of the five highest logits; ``None`` for at most
            five classes.
        class_accuracy: accuracy on the test images of each class, by its name; ``None`` for a
            class without test images.
        test_images: number of test images.
        epochs: passes over the training images.
        steps: optimizer steps.
        train_seconds: duration of the training, without validation and evaluation.
        step_ms: median of this column of ``metrics.csv``.
        best_epoch: the first epoch with the highest validation accuracy; ``None`` without
            validation images.
        best_val_accuracy: that accuracy.
        balanced_accuracy: the mean of the classes' accuracies, where they have test images.
        probe_val_accuracy: the accuracy, on the validation images, of the classifier on the
            features of the weights that the run began with; ``None`` without either.
        kept: the weights that were kept: ``"last"``, ``"probe"``, or ``"best"``, those of the best
            epoch of a training that diverged.
        diverged: where the training diverged; ``None`` if it did not.
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
    balanced_accuracy: float | None = None
    probe_val_accuracy: float | None = None
    kept: str = "last"
    diverged: str | None = None


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run, with methods that read and write its small files."""

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
    def best(self) -> Path:
        return self.checkpoints / "best.ckpt"

    @property
    def model_file(self) -> Path:
        return self.path / MODEL

    @property
    def probe_file(self) -> Path:
        return self.path / "probe.safetensors"

    def features_file(self, split: str) -> Path:
        return self.path / "features" / f"{split}.npz"

    @property
    def predictions_file(self) -> Path:
        return self.path / "predictions.npz"

    @property
    def val_predictions_file(self) -> Path:
        return self.path / "predictions-val.npz"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    @property
    def begun(self) -> bool:
        """Whether the folder holds a run, finished or not."""
        return self.config_file.is_file()

    @property
    def finished(self) -> bool:
        return self.result_file.is_file()

    # --- before it is written ---------------------------------------------------------------------

    def require_unused(self) -> None:
        """Refuse a folder that holds anything.

        Raises:
            ValueError: if it holds anything, or is a file.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise ValueError(self._taken())

    def create(self) -> None:
        """Make the folder and check that it can be written to.

        Raises:
            OSError: if it cannot be made or written to.
        """
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
            return f"the output folder {self.path} is a file: name another folder"
        if self.result_file.exists():
            return (
                f"{self.path} holds a finished run, which is never overwritten: name another folder"
            )
        if (self.path / COMPARISON).exists():
            command = resume_comparison(self.path)
            return (
                f"{self.path} holds a comparison: resume it (`{command}`), or name another folder"
            )
        if self.config_file.exists():
            return (
                f"{self.path} holds a run that has not finished: resume it "
                f"(`{self.resume_command}`), or name another folder"
            )
        return (
            f"the output folder {self.path} is not empty: name another folder, or empty it yourself"
        )

    def require_space(self, needed: int) -> None:
        """Refuse to begin if the disk has too little space for the run.

        Args:
            needed: bytes that the run needs.

        Raises:
            OSError: if fewer are free; the message names both numbers.
        """
        place = self.path.absolute()
        free = shutil.disk_usage(next(p for p in (place, *place.parents) if p.exists())).free
        if free < needed:
            raise OSError(
                errno.ENOSPC,
                f"too little disk space: this run needs about {_size(needed)}, but only "
                f"{_size(free)} are free. Make room, or name an output folder on another disk",
                str(self.path),
            )

    # --- its files --------------------------------------------------------------------------------

    def read_config(self) -> dict[str, Any]:
        """Return the configuration that the run was started with.

        Raises:
            FileNotFoundError: if the folder holds no run.
            ValueError: if the file is damaged.
        """
        return read_json(self.config_file)["config"]

    def read_data(self) -> dict[str, Any]:
        """Return what ``config.json`` says about the data. Raises as :meth:`read_config`."""
        return read_json(self.config_file)["data"]

    def write_config(
        self, config: Mapping[str, Any], data: Mapping[str, Any], environment: Mapping[str, Any]
    ) -> None:
        """Begin the run: write ``config.json``.

        Args:
            config: the configuration, of types that JSON has.
            data: see :func:`senet.runs.images.described`.
            environment: versions, device and threads.
        """
        write_json(
            self.config_file, {"config": config, "data": data, "environment": environment}
        )

    def write_data(self, data: Mapping[str, Any]) -> None:
        """Replace what ``config.json`` says about the data."""
        write_json(self.config_file, {**read_json(self.config_file), "data": data})

    def read_table(self) -> list[dict[str, str]]:
        """Return the rows of ``metrics.csv`` as text, or none if there is no such file."""
        return read_csv(self.table_file)[1] if self.table_file.is_file() else []

    def write_table(self, rows: Sequence[Mapping[str, Any]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([row[name] for name in COLUMNS] for row in rows)
        files.write_text(self.table_file, text.getvalue())

    def read_result(self) -> RunResult:
        values = read_json(self.result_file)
        values.pop("finished")
        return RunResult(folder=self.path, **values)

    def write_result(self, result: RunResult) -> None:
        values = {k: v for k, v in asdict(result).items() if k != "folder"}
        write_json(self.result_file, {"finished": True, **values})


def resume_comparison(folder: Path) -> str:
    """Return the command that resumes the comparison in a folder."""
    return f"senet compare --resume {shlex.quote(str(folder))}"


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns of a table, and its rows as text.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is not text.
        csv.Error: if it is not a table.
    """
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        rows = list(table)
        return list(table.fieldnames or ()), rows


def read_json(path: Path) -> dict[str, Any]:
    """Return the contents of a JSON file of a run.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is not a run folder: it has no {path.name}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    r"""Write a JSON file of a run, whole or not at all. NaN is refused: JSON has none.

    File names need not be valid text: a byte that is not is written as a JSON escape, such as
    ``\udce9``, and reads back unchanged.
    """
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    files.write_bytes(path, text.encode("utf-8", "backslashreplace") + b"\n")


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
