"""What Lightning does beside the steps: the table, the lines, the bar, checkpoints, stopping."""

from __future__ import annotations

import io
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import rich
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint, RichProgressBar
from pytorch_lightning.plugins.io import TorchCheckpointIO

from senet.training.folder import RunFolder, write_aside
from senet.training.module import Classifier

_SECONDS_BETWEEN_REDRAWS = 0.2


class Table(Callback):
    """Writes a row of ``metrics.csv`` at the end of every epoch, and a line for the reader.

    Args:
        folder: of the run. A resumed run keeps the rows of the epochs it does not do again.
        lines: whether to print.
    """

    def __init__(self, folder: RunFolder, lines: bool) -> None:
        self.folder, self.lines = folder, lines
        self.rows: list[dict[str, Any]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        done = trainer.current_epoch
        self.rows = [r for r in self.folder.read_table() if int(r["epoch"]) <= done]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        row = pl_module.row()
        self.rows.append(row)
        self.folder.write_table(self.rows)
        if self.lines:
            line = _line(row, pl_module.config.epochs)
            rich.get_console().print(line, highlight=False, soft_wrap=True)


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

    Redrawing at every step, and asking for the loss to do it, would cost small networks more than
    their step does.
    """

    def __init__(self) -> None:
        super().__init__(refresh_rate=round(1 / _SECONDS_BETWEEN_REDRAWS))
        self._drawn = 0.0

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
        return {"loss": record.loss, "accuracy": record.accuracy} | pl_module.validation


class AsideIO(TorchCheckpointIO):
    """Writes checkpoints beside their place, then renames; Lightning's way is through ``/tmp``."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_aside(Path(path), buffer.getbuffer())


class Kept(ModelCheckpoint):
    """One checkpoint of a fixed name, replaced at the ends of epochs; the folder may be moved."""

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
        # Lightning forgets the best score of a folder that has been moved since.
        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        moved = {k: here(state_dict[k]) for k in ("best_model_path", "kth_best_model_path")}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(
            {**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath}
        )


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """A signal has asked the training to stop, and it has."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"by {number.name}")
        self.signal = number


class StopOnSignal(Checkpoint):
    """Ctrl-C and SIGTERM end the training after the step that runs, with a checkpoint of it.

    An exception in the midst of a step would leave half-made weights to save. A second signal is
    obeyed at once, and what was saved last stays the last. Being a checkpoint callback, it comes
    after all others, the moving average for one.

    A context: after it, signals do what they did before.

    Args:
        path: of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not earlier: Lightning has put up handlers of its own by now, which these replace.
        for number in self._before:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        rich.get_console().print("Stopping after this step. Once more to stop at once.")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # After the last step of an epoch come validation and the checkpoint of its end.
        if self.received and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)
            raise Stopped(self.received)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.received:
            raise Stopped(self.received)
