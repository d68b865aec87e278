"""Train a network: from a configuration to a finished run folder.

This is one file because it is one sequence of steps, each with a message and a remedy if it fails;
what a step does has a file of its own.
"""

from __future__ import annotations

import errno
import os
import platform
import statistics
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from senet.data import ImageError, Source, Split
from senet.data.shared_memory import SharedMemoryError
from senet.device import find_device
from senet.models import Network
from senet.models.weights.file import load_state, read_state, save_model
from senet.models.weights.find import find_weights
from senet.models.weights.pretrained import needed_options
from senet.models.weights.record import Record
from senet.paths import expanded
from senet.runs.folder import RunFolder, RunResult
from senet.runs.images import changes, described, note_data
from senet.runs.predictions import Predictions
from senet.tell import tell
from senet.training.balance import class_weights
from senet.training.batches import fitting, steps_per_epoch, training_images
from senet.training.begin import load_weights, new_network, set_probe
from senet.training.config import TrainConfig
from senet.training.engine import Stopped, run_steps
from senet.training.evaluate import metrics, predict_split
from senet.training.found import found_images, found_network, found_weights
from senet.training.groups import freeze
from senet.training.head import Head
from senet.training.kept import probe_accuracy, weights_to_keep
from senet.training.module import Classifier, NotFiniteError
from senet.training.norms import frozen, norms_of
from senet.training.schedule import learning_rate


class DivergenceError(FloatingPointError):
    """The training has diverged. The message says where, and what to try."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP has ended a training. The message says how to resume it.

    Attributes:
        exit_code: the exit status that a shell expects then: 130, 143 or 129.
    """

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def fit(
    config: TrainConfig,
    run_dir: str | os.PathLike[str],
    source: Source | None = None,
    *,
    resume: bool = False,
    changed_data: bool = False,
    progress: bool = True,
) -> RunResult:
    """Train, evaluate on the test images, and leave everything in a run folder.

    The same configuration gives the same weights, bit for bit on a CPU with the same number of
    threads, whether or not the run was interrupted and resumed.

    Args:
        config: configuration of the training.
        run_dir: the folder; it must be empty or not exist, unless a run is resumed.
        source: the images, if they are already open; by default what ``config.data`` names.
        resume: resume the run in ``run_dir``. A finished run is only read. If ``config.data`` names
            another folder than the run's, its images are taken from there.
        changed_data: resume even if images of the run are missing or have changed since it began.
        progress: print what was found and a line per epoch, and show a bar on a terminal.

    Returns:
        the figures of the run, as in the ``result.json`` of the folder.

    Raises:
        ValueError: if the folder is taken, the configuration or the images are not those of the run
            to resume, or data, network and weights do not fit together.
        OSError: if the folder cannot be written to, or the disk is too small.
        DivergenceError: if the loss becomes infinite or not a number, and there is no probe. With
            one, the run is finished with the better of the probe and the best epoch on the
            validation images; a warning and ``diverged`` in the result say so.
        Interrupted: on Ctrl-C, SIGTERM or SIGHUP, with a checkpoint of the step it stopped after.

    Example:
        >>> import tempfile
        >>> config = TrainConfig(
        ...     model="se_resnet8_cifar", options={"widths": (4, 4, 4), "reduction": 2},
        ...     limit=200, epochs=1, batch_size=32,
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = fit(config, folder, progress=False)
        ...     sorted(path.name for path in result.folder.iterdir())
        ['checkpoints', 'config.json', 'metrics.csv', 'model.safetensors', 'predictions-val.npz',
         'predictions.npz', 'result.json', 'tensorboard']
    """
    folder = RunFolder(expanded(run_dir))
    find_device(config.device)  # refuses a missing device before anything is written
    place = None
    if resume:
        config, place = _same(folder, config)
        if folder.finished:
            return folder.read_result()
    else:
        folder.require_unused()
        config = _with_options_of_weights(config)
    begun = folder if resume else None
    given = source is not None
    source = training_images(config, source, begun, place)
    if resume and not given:
        _require_same_images(folder, source, changed_data)
    if progress and not given:
        for line in found_images(source):
            tell(line)
        tell()
    if not resume:
        config = fitting(config, len(source.train))
    steps = steps_per_epoch(config, source, begun)
    model = new_network(config, source)
    at_rest = freeze(model, config.freeze)
    head = None
    if config.weights is not None and not _steps_done(folder) and not folder.probe_file.exists():
        head = load_weights(model, config, source)
    if not resume:
        folder.require_space(_space(model, config, source))
        folder.create()
        folder.write_config(config.to_dict(), described(source, steps), _environment(config))
    say = tell if progress else _silent
    if progress and not given:
        for line in [] if resume else found_weights(config, source):
            tell(line)
        _introduce(model, config, steps, source, folder)
    try:
        _begin(model, head, config, source, folder, say)
        at_rest += _frozen_norms(model, config, say)
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = class_weights(source.train.labels, len(source.classes))
        module = Classifier(
            model,
            len(source.classes),
            config,
            source.preprocessing,
            steps,
            at_rest,
            weights if config.balance else None,
        )
        diverged = None
        if _steps_done(folder) < config.epochs * module.steps:
            diverged = _train(module, source, folder, progress)
        return _finish(module, source, folder, say, diverged)
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(_how_to_resume(folder)) from None
    except ImageError as error:
        raise ValueError(_about_images(error, folder)) from error
    except SharedMemoryError as error:
        command = f"{folder.resume_command} --workers 0"
        raise SharedMemoryError(f"{error}. Resume with `{command}`") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _about_disk(error, folder) from error
        raise


# --- before ---------------------------------------------------------------------------------------


def _with_options_of_weights(config: TrainConfig) -> TrainConfig:
    """Add the network options that the weights need; options of the configuration come first."""
    if config.weights is None:
        return config
    needed = needed_options(find_weights(config.weights, config.model), config.model)
    return replace(config, options={**needed, **config.options})


def _same(folder: RunFolder, config: TrainConfig) -> tuple[TrainConfig, Path | None]:
    """Return the configuration to resume, which is that of the run, and where its images are now.

    The place is ``None`` if they have not moved.
    """
    begun = TrainConfig.from_dict(folder.read_config())
    if config.weights is not None:  # the run added the options that they need
        config = replace(config, options={**begun.options, **config.options})
    if begun.batch_size == folder.read_data()["images"]["train"]:  # fewer than a batch
        config = fitting(config, begun.batch_size)
    place = None
    if config.data != begun.data and folder.read_data()["record"]:
        place = expanded(config.data)
        config = replace(config, data=begun.data)
    if differences := begun.differences(config):
        raise ValueError(
            f"{folder.path} was started with another configuration, so it cannot be resumed with "
            f"this one: {'; '.join(differences)}"
        )
    return config, place


def _require_same_images(folder: RunFolder, source: Source, changed_data: bool) -> None:
    """Refuse images that differ from those of the run, unless allowed; record where they are."""
    record = folder.read_data()["record"]
    if record is None:
        return
    assert source.record is not None
    found = changes(record, source.record)
    if found and not changed_data:
        raise ValueError(
            f"the images in {source.path} have changed since {folder.path} was started: {found}."
            " Put them back, or say with --data where they are now; or resume with the images as "
            f"they are: `{folder.resume_command} --changed-data ok`"
        )
    note_data(folder, source, found)


def _begin(
    model: Network,
    head: Head | None,
    config: TrainConfig,
    source: Source,
    folder: RunFolder,
    say: Callable[[str], None],
) -> None:
    """Have the network begin where the weights lead to; a checkpoint is loaded later."""
    if head is not None:
        say(f"starting from {config.weights}: {head}")
        if config.probe:
            set_probe(model, head, config, source, folder, say)
    elif folder.probe_file.exists():
        load_state(model, read_state(folder.probe_file), folder.probe_file)


def _frozen_norms(
    model: Network, config: TrainConfig, say: Callable[[str], None]
) -> list[nn.Module]:
    """Return the norms that keep the statistics of the weights, and say why."""
    norms = norms_of(model)
    if config.weights is None or not config.epochs or not norms:
        return []
    keep, why = frozen(model, config.norms, config.batch_size)
    what = "keep the statistics of the weights" if keep else "follow the statistics of the batches"
    say(f"batch norms {what}: {why} (--set norms={'train' if keep else 'frozen'} for the other)")
    return list(norms) if keep else []


def _silent(line: str) -> None:
    """Tell nobody."""


def _environment(config: TrainConfig) -> dict[str, Any]:
    """Return what ``config.json`` says about versions, device and threads."""
    import pytorch_lightning

    import senet

    return {
        "senet": senet.__version__,
        "torch": torch.__version__,
        "lightning": pytorch_lightning.__version__,
        "python": platform.python_version(),
        "device": _device_name(config),
        "threads": torch.get_num_threads(),
    }


def _device_name(config: TrainConfig) -> str:
    device = find_device(config.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _space(model: Network, config: TrainConfig, source: Source) -> int:
    """Return the bytes that a run needs on disk, also while it replaces its largest file."""
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    copies = 1 + {"sgd": 1, "adamw": 2}[config.optimizer] + bool(config.ema)
    checkpoints = 3 if config.epochs else 0  # the last, the best, and the one being written
    needed = weights * (copies * checkpoints + 2) + 4 * len(source.test) * len(source.classes)
    if config.weights is not None and config.probe:
        images = config.views * len(source.train) + (len(source.val) if source.val else 0)
        needed += weights + 4 * model.num_features * images
    return needed + 1_000_000


def _train(
    module: Classifier, source: Source, folder: RunFolder, progress: bool
) -> NotFiniteError | None:
    """Train to the last epoch, or return where the training diverged if there is a probe."""
    done = _steps_done(folder)
    if done:
        _require_own(_checkpoint(folder)["state_dict"], module, folder)
    try:
        run_steps(module, source, folder, done, progress)
    except NotFiniteError as error:
        if not folder.probe_file.exists():
            raise DivergenceError(_about_divergence(error, module, folder)) from None
        return error
    except Stopped as stop:
        raise Interrupted(_how_to_resume(folder), exit_code=128 + stop.signal) from None
    return None


def _introduce(
    model: Network, config: TrainConfig, steps: int, source: Source, folder: RunFolder
) -> None:
    """Print what is trained, and where."""
    for line in found_network(config, model, source, _device_name(config), steps):
        tell(line)
    if done := _steps_done(folder):
        tell(f"resuming after step {done:,} of {config.epochs * steps:,}")
    tell(f"run folder {folder.path}")
    tell()


# --- after ----------------------------------------------------------------------------------------


def _finish(
    module: Classifier,
    source: Source,
    folder: RunFolder,
    say: Callable[[str], None],
    diverged: NotFiniteError | None,
) -> RunResult:
    """Evaluate the weights to keep, and write the remaining files."""
    config, model = module.config, module.module
    rows = folder.read_table()
    kept = weights_to_keep(folder, rows, diverged is not None)
    if diverged:
        warnings.warn(
            f"{_where(diverged, module)}, so the training has stopped: {kept.why}. "
            f"{_remedies(config)}",
            stacklevel=3,
        )
    elif kept.why:
        say(kept.why)
    # Under `state_dict` Lightning keeps the averaged weights if there are any.
    load_state(model, read_state(kept.file), kept.file)
    labels, logits = _predicted(module, source.test, source)
    found = metrics(labels, logits, source.classes)
    Predictions(labels, logits).write(folder.predictions_file)
    if source.val:
        Predictions(*_predicted(module, source.val, source)).write(folder.val_predictions_file)
    figures = {"test_accuracy": found["accuracy"], "test_loss": found["loss"]}
    record = Record(model.architecture, source.preprocessing, source.classes, figures)  # type: ignore[arg-type]
    save_model(folder.model_file, model, record)
    best = max(
        (r for r in rows if r["val_accuracy"]), key=lambda r: float(r["val_accuracy"]), default=None
    )
    result = RunResult(
        folder=folder.path,
        model=config.model,
        seed=config.seed,
        test_top5=found["top5"],
        test_images=found["images"],
        class_accuracy=found["class_accuracy"],
        balanced_accuracy=found["balanced_accuracy"],
        epochs=config.epochs,
        steps=_steps_done(folder),
        train_seconds=sum(float(r["seconds"]) for r in rows),
        step_ms=statistics.median(float(r["step_ms"]) for r in rows) if rows else 0.0,
        best_epoch=int(best["epoch"]) if best else None,
        best_val_accuracy=float(best["val_accuracy"]) if best else None,
        probe_val_accuracy=probe_accuracy(folder),
        kept=kept.name,
        diverged=_where(diverged, module) if diverged else None,
        **figures,
    )
    folder.write_result(result)
    return result


def _predicted(module: Classifier, split: Split, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of a split, and the logits of its images."""
    config = module.config
    return predict_split(
        module.module,
        split,
        source.preprocessing,
        batch_size=config.batch_size,
        device=config.device,
        workers=config.workers,
    )


def _steps_done(folder: RunFolder) -> int:
    """Return the optimizer steps up to the last checkpoint, 0 without one."""
    return _checkpoint(folder)["global_step"] if folder.last.is_file() else 0


def _checkpoint(folder: RunFolder) -> dict[str, Any]:
    try:
        return torch.load(folder.last, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # unpickling rubbish can raise anything
        raise ValueError(
            f"{folder.last} is damaged: {str(error).splitlines()[0]}. Delete it to start over, or "
            "put best.ckpt in its place"
        ) from error


def _require_own(state: Mapping[str, Tensor], module: Classifier, folder: RunFolder) -> None:
    """Refuse a checkpoint of another network, which somebody has copied into the folder."""
    saved, own = (
        {name: value.shape for name, value in one.items()} for one in (state, module.state_dict())
    )
    if saved != own:
        raise ValueError(
            f"{folder.last} is not of this run's network, {module.config.model}: put its own "
            "there, or delete it to start over"
        )


# --- what to say ----------------------------------------------------------------------------------


def _how_to_resume(folder: RunFolder) -> str:
    steps = _steps_done(folder)
    kept = f"a checkpoint of step {steps} is kept" if steps else "there is no checkpoint yet"
    return f"Stopped: {kept}. Resume with `{folder.resume_command}`."


def _about_divergence(error: NotFiniteError, module: Classifier, folder: RunFolder) -> str:
    steps = _steps_done(folder)
    kept = f"{folder.last}, of step {steps}" if steps else "none, this is the first epoch"
    return (
        f"{_where(error, module)}, so the training has stopped. Last good checkpoint: {kept}. "
        f"{_remedies(module.config)}"
    )


def _where(error: NotFiniteError, module: Classifier) -> str:
    rate = learning_rate(module.config, error.step, module.steps)
    return (
        f"{error.what} at step {error.step + 1} (epoch {error.step // module.steps + 1} of "
        f"{module.config.epochs}, learning rate {rate:.3g})"
    )


def _remedies(config: TrainConfig) -> str:
    remedies = [f"a lower learning rate (lr={config.lr / 3:.2g})"]
    if not config.warmup:
        remedies.append("a warm-up (warmup=1)")
    if config.precision != "32":
        remedies.append("precision='32'")
    return f"Try {', '.join(remedies)}, in another folder."


def _about_images(error: ImageError, folder: RunFolder) -> str:
    steps = _steps_done(folder)
    kept = f"a checkpoint of step {steps} is kept" if steps else "there is no checkpoint yet"
    return (
        f"{error}, and none of the images after it can be read: is their disk still there? "
        f"Stopped: {kept}. Resume with `{folder.resume_command}`"
    )


def _about_disk(error: OSError, folder: RunFolder) -> OSError:
    steps = _steps_done(folder)
    kept = f"the checkpoint of step {steps}" if steps else "no checkpoint yet"
    return OSError(
        error.errno,
        f"{error.strerror}: the run could not be written. What was written before is intact, with "
        f"{kept}. Make room, then resume with `{folder.resume_command}`",
        str(folder.path),
    )
