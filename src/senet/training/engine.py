"""Lightning set up for these trainings: its trainer, its callbacks, and its messages silenced."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch.optim.swa_utils import get_ema_multi_avg_fn

from senet.data import Source
from senet.data.shared_memory import enough_shared_memory
from senet.device import find_device
from senet.runs.folder import RunFolder
from senet.training.batches import train_batches, val_batches
from senet.training.callbacks import AsideIO, Bar, Kept, Lines, StopOnSignal, Stopped, Table
from senet.training.config import TrainConfig
from senet.training.module import Classifier
from senet.training.vanished import NameVanished


def run_steps(
    module: Classifier, source: Source, folder: RunFolder, done: int, progress: bool
) -> None:
    """Train to the last epoch, from the checkpoint ``last.ckpt`` if any steps are ``done``.

    Raises:
        Stopped: on a signal.
        NotFiniteError: if a loss or a weight is infinite or not a number.
        ImageError: if an image can no longer be read, nor any of those after it.
        SharedMemoryError: if the processes of the loader have too little shared memory.
    """
    config = module.config
    with _quiet(), _one_process(), enough_shared_memory(), StopOnSignal(folder.last) as stop:
        trainer = _trainer(module, folder, _callbacks(config, source, folder, progress, stop))
        try:
            trainer.fit(
                module,
                train_batches(config, source, module.steps, done),
                val_batches(config, source),
                ckpt_path=folder.last if done else None,
                weights_only=True,
            )
        except (SystemExit, KeyboardInterrupt):
            # Lightning turns a second Ctrl-C, or one before the first step, into these.
            raise Stopped(stop.received or signal.SIGINT) from None


def _callbacks(
    config: TrainConfig, source: Source, folder: RunFolder, progress: bool, stop: StopOnSignal
) -> list[Callback]:
    """Return the callbacks in the order in which Lightning calls them, checkpoints last."""
    callbacks: list[Callback] = [Table(folder), NameVanished()]
    bar = progress and sys.stdout.isatty()
    if bar:
        callbacks.append(Bar())
    if config.ema:
        # All tensors at once. Lightning's EMAWeightAveraging goes tensor by tensor, which takes two
        # to three times as long.
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(config.ema)))
    if source.val is not None:
        callbacks.append(Kept(folder.best, highest="val_accuracy"))
    lines = [Lines(within=not bar)] if progress else []
    return [*callbacks, Kept(folder.last), *lines, stop]


def _trainer(module: Classifier, folder: RunFolder, callbacks: list[Callback]) -> Trainer:
    config = module.config
    device = find_device(config.device)
    return Trainer(
        accelerator={"cpu": "cpu", "cuda": "gpu", "mps": "mps"}[device.type],
        devices=1,
        precision={"32": "32-true"}.get(config.precision, config.precision),  # type: ignore[arg-type]
        max_epochs=config.epochs,
        callbacks=callbacks,
        logger=TensorBoardLogger(folder.path, name="tensorboard", version=""),
        # Nothing is logged at single steps, and each check whether there is something costs time.
        log_every_n_steps=module.steps,
        enable_progress_bar=any(isinstance(c, Bar) for c in callbacks),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        # Sizes never change, so a GPU may look for its fastest convolutions once.
        benchmark=device.type == "cuda",
        default_root_dir=folder.path,
        # One process, whatever scheduler started it.
        plugins=[LightningEnvironment(), AsideIO()],
    )


# Warnings of Lightning that do not concern these trainings.
_NOISE = (
    "does not have many workers",
    "dataloader is not resumable",  # it is: batches.py begins it at the right batch
    "Checkpoint directory .* exists and is not empty",
    "available but not used",
    "no `?val_dataloader",
    "LeafSpec",  # Lightning uses a name that PyTorch is going to change
)


@contextmanager
def _one_process() -> Iterator[None]:
    """Make this the process that writes for TensorBoard, whatever ``RANK`` or ``SLURM_PROCID`` say.

    Lightning reads them when it is imported, and leaves writing to the process of rank 0.
    """
    before = getattr(rank_zero_only, "rank", None)
    rank_zero_only.rank = 0  # type: ignore[attr-defined]
    try:
        yield
    finally:
        rank_zero_only.rank = before  # type: ignore[attr-defined]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's general messages: tips, available devices, workers."""
    loggers = [logging.getLogger(n) for n in ("pytorch_lightning", "lightning_fabric")]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _NOISE:
                warnings.filterwarnings("ignore", f".*{message}")
            yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)
