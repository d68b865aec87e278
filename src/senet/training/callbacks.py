"""Lightning callbacks around the steps: the table, the lines, the bar, checkpoints, stopping."""

from __future__ import annotations

import io
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint, RichProgressBar
from pytorch_lightning.plugins.io import TorchCheckpointIO
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from senet.data import ImageError
from senet.files import write_bytes
from senet.runs.folder import RunFolder
from senet.tell import tell, terminal_is_gone
from senet.training.module import Classifier

_SECONDS_BETWEEN_REDRAWS = 0.2
_FIRST_LINE_AFTER = 10.0  # seconds; the wait then doubles from line to line, up to:
_SECONDS_BETWEEN_LINES = 300.0


class Table(Callback):
    """A callback that writes a row of ``metrics.csv`` at the end of every epoch.

    Args:
        folder: the run folder. A resumed run keeps the rows of the epochs that it does not repeat.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        done = trainer.current_epoch
        self.rows = [r for r in self.folder.read_table() if int(r["epoch"]) <= done]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        self.rows.append(pl_module.row())
        self.folder.write_table(self.rows)


class Lines(Checkpoint):
    """A callback that prints a line per epoch and, without a bar, some more during long epochs.

    As a checkpoint callback it runs after those that write checkpoints: they are safe if printing
    fails.

    Args:
        within: whether to print within an epoch too.
    """

    def __init__(self, within: bool) -> None:
        self.within = within
        self.wait = _FIRST_LINE_AFTER
        self.last = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.last = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.within or time.monotonic() - self.last < self.wait:
            return
        assert isinstance(pl_module, Classifier)
        if pl_module.record.done < pl_module.steps:
            tell(_line_within(pl_module))
            self.last, self.wait = time.monotonic(), min(2 * self.wait, _SECONDS_BETWEEN_LINES)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        tell(_line(pl_module.row(), pl_module.config.epochs))
        self.last = time.monotonic()


def _line_within(module: Classifier) -> str:
    record, steps = module.record, module.steps
    left = record.step_ms / 1000 * (steps - record.done)
    pace = f", {record.step_ms:.1f} ms a step, {_duration(left)} to the end of the epoch"
    return (
        f"epoch {module.current_epoch + 1}/{module.config.epochs}, step {record.done} of {steps}: "
        f"loss {record.loss:.3f}, accuracy {record.accuracy:.1%}"
        f"{pace if record.times else ''}"  # the first step is timed after this line
    )


def _duration(seconds: float) -> str:
    """Return a duration in words.

    Example:
        >>> _duration(42), _duration(600), _duration(9000)
        ('42 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _line(row: dict[str, Any], epochs: int) -> str:
    validation = (
        f", validation {row['val_loss']:.3f} {row['val_accuracy']:.1%}"
        if row["val_accuracy"] != ""
        else ""
    )
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}: "
        f"loss {row['train_loss']:.3f}, accuracy {row['train_accuracy']:.1%}{validation}, "
        f"{row['seconds']:.1f} s, {row['step_ms']:.1f} ms a step"
    )


class Bar(RichProgressBar):
    """Lightning's bar with loss and accuracy of the epoch so far, redrawn a few times a second.

    It fits in one line of 80 characters, counts epochs as the lines do, and disappears at the end.

    Redrawing it at every step, and reading the loss for that, would take small networks longer than
    the step itself.
    """

    def __init__(self) -> None:
        super().__init__(refresh_rate=round(1 / _SECONDS_BETWEEN_REDRAWS))
        self._drawn = 0.0

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        return [
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        ]

    def _init_progress(self, trainer: Trainer) -> None:
        super()._init_progress(trainer)
        if self.progress is not None:
            self.progress.live.transient = True

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now - self._drawn >= _SECONDS_BETWEEN_REDRAWS or trainer.is_last_batch:
            self._drawn = now
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        assert isinstance(pl_module, Classifier)
        record = pl_module.record
        if not record.done:
            return {}
        return {"loss": record.loss, "accuracy": record.accuracy}


class AsideIO(TorchCheckpointIO):
    """Checkpoint I/O that writes beside the file, then renames; Lightning goes through ``/tmp``."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getbuffer())


class Kept(ModelCheckpoint):
    """One checkpoint of a fixed name, replaced at the end of epochs; the folder may be moved."""

    def __init__(self, path: Path, highest: str | None = None) -> None:
        super().__init__(
            dirpath=path.parent,
            filename=path.stem,
            monitor=highest,
            mode="max",
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Lightning forgets the best score if the folder has been moved since.
        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        moved = {k: here(state_dict[k]) for k in ("best_model_path", "kth_best_model_path")}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(
            {**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath}
        )


_HANG_UP = getattr(signal, "SIGHUP", None)  # Windows does not have it
_SIGNALS = [n for n in (signal.SIGINT, signal.SIGTERM, _HANG_UP) if n is not None]


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The training has stopped, as a signal asked it to."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"by {number.name}")
        self.signal = number


class StopOnSignal(Checkpoint):
    """A callback that ends the training after the current step, with a checkpoint, on a signal.

    The signals are Ctrl-C, SIGTERM, and the SIGHUP of a terminal that is closed (unless nohup
    started the program to outlive it). An exception in the middle of a step would leave weights
    half updated. A second Ctrl-C or SIGTERM is obeyed at once, and the previous checkpoint stays
    the last. As a checkpoint callback it runs after all others, such as the moving average.

    Images that can no longer be read also end the training between two steps.

    It is a context manager that restores the signal handlers on exit.

    Args:
        path: the checkpoint file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.getsignal(n) for n in _SIGNALS}
            if _HANG_UP and self._before[_HANG_UP] is signal.SIG_IGN:
                del self._before[_HANG_UP]
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not earlier: by now Lightning has installed its own handlers, which these replace.
        for number in self._before:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == _HANG_UP:  # may come twice: from the terminal and from the shell
            terminal_is_gone()
        elif self.received in (number, signal.SIGINT):
            raise KeyboardInterrupt
        if self.received is None:
            self.received = signal.Signals(number)
            tell("Stopping after this step. Repeat Ctrl-C or SIGTERM to stop at once.")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # The last step of an epoch is followed by validation and the end-of-epoch checkpoint.
        if self.received and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)
            raise Stopped(self.received)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.received:
            raise Stopped(self.received)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, ImageError) and trainer.training and trainer.global_step:
            trainer.save_checkpoint(self.path)
