"""The images of a training, and their batches from any step onwards."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

from torch.utils.data import DataLoader

from senet.data import Source, loader, open_source, transforms
from senet.data.loaders import SUBSTITUTES, EpochSampler
from senet.models.weights.find import find_weights
from senet.preprocessing import Preprocessing
from senet.runs.folder import RunFolder
from senet.runs.images import recorded_source, recorded_steps
from senet.runs.normalisation import asked_preprocessing, say_guessed
from senet.training.config import TrainConfig
from senet.training.steps import Steps


def training_images(
    config: TrainConfig,
    source: Source | None = None,
    resumed: RunFolder | None = None,
    place: Path | None = None,
) -> Source:
    """Return the data of a training, with the preprocessing of its network.

    The split does not depend on ``config.seed``: trainings with different seeds are tested on the
    same images.

    Args:
        config: names the data.
        source: the data, if they are already open.
        resumed: a run that recorded how its images were split.
        place: where its images are now, if they have moved.

    Raises:
        ValueError: if they cannot be opened.
    """
    if source is None and resumed is not None:
        source = recorded_source(resumed, place)
    else:
        # A run that is resumed no longer needs the weights it began with.
        recorded = _recorded(config) if resumed is None else None
        if source is None:
            source = open_source(
                config.data, limit=config.limit, preprocessing=recorded, shrink=config.shrink
            )
            if config.weights and not (config.preprocessing or recorded):
                say_guessed(config.weights, source.preprocessing)
        if config.weights and config.preprocessing:
            like = source.preprocessing
            like = asked_preprocessing(config.preprocessing, like, recorded, config.weights)
            source = replace(source, preprocessing=like)
    asked = {k: v for k in ("size", "crop") if (v := getattr(config, k)) is not None}
    source = replace(source, preprocessing=replace(source.preprocessing, **asked))
    if config.shrink is not None and config.shrink < source.preprocessing.size:
        raise ValueError(
            f"shrink={config.shrink} is less than the {source.preprocessing.size} pixels that the "
            "network takes: copies would have to be enlarged again"
        )
    return source


def fitting(config: TrainConfig, images: int) -> TrainConfig:
    """Return a configuration whose batches are no larger than all training images together.

    Example:
        >>> fitting(TrainConfig(batch_size=128), 50).batch_size
        50
    """
    return replace(config, batch_size=min(config.batch_size, images))


def _recorded(config: TrainConfig) -> Preprocessing | None:
    """Return the preprocessing that the weights to fine-tune were trained with, if they say it."""
    if config.weights is None:
        return None
    known = find_weights(config.weights, config.model).record
    return known.preprocessing if known else None


def steps_per_epoch(config: TrainConfig, source: Source, resumed: RunFolder | None = None) -> int:
    """Return the number of full batches per epoch; a resumed run keeps its own."""
    return len(source.train) // config.batch_size if resumed is None else recorded_steps(resumed)


def train_batches(config: TrainConfig, source: Source, steps: int, done: int) -> DataLoader:
    """Return the batches of the training images that follow the first ``done`` steps.

    Their order depends on the seed and the epoch alone, the random crops of photos on the image
    too; the module augments whole batches on the device.

    Args:
        config: configuration of the training.
        source: the images.
        steps: steps per epoch.
        done: steps done so far, over the whole training.
    """
    p = source.preprocessing
    crop = transforms.CentreCrop.of(p)
    if config.crop_scale < 1:
        crop = transforms.RandomResizedCrop(
            p.size, (config.crop_scale, 1.0), interpolation=p.interpolation
        )
    epoch, batch = divmod(done, steps)
    images = loader(
        source.train,
        config.batch_size,
        crop,
        shuffle=True,
        seed=config.seed,
        epoch=epoch,
        workers=config.workers,
        substitutes=SUBSTITUTES,
    )
    assert isinstance(images.sampler, EpochSampler)
    return DataLoader(
        images.dataset,
        batch_sampler=Steps(images.sampler, config.batch_size, steps, epoch, batch),
        collate_fn=images.collate_fn,
        num_workers=images.num_workers,
        persistent_workers=images.persistent_workers,
        pin_memory=images.pin_memory,
        generator=images.generator,
        worker_init_fn=_outlive_the_terminal,
    )


def val_batches(config: TrainConfig, source: Source) -> DataLoader | None:
    """Return batches of the validation images, or ``None`` if there are none."""
    if source.val is None:
        return None
    crop = transforms.CentreCrop.of(source.preprocessing)
    batches = loader(
        source.val, config.batch_size, crop, workers=config.workers, substitutes=SUBSTITUTES
    )
    batches.worker_init_fn = _outlive_the_terminal
    return batches


def _outlive_the_terminal(worker: int) -> None:
    """Make a worker ignore Ctrl-C and the closing of its terminal, which reach it too.

    It must live on so that the training can end its step.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
