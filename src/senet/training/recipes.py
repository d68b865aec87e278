"""Recipes: functions that return a :class:`TrainConfig`, to use as they are or to override.

>>> from dataclasses import replace
>>> replace(cifar(), model="se_resnet56_cifar", seed=1).epochs
164
"""

from __future__ import annotations

from collections.abc import Callable

from senet.near import near
from senet.training.config import TrainConfig


def quick() -> TrainConfig:
    """The default of ``senet compare``: minutes on two CPU cores, on the bundled images.

    docs/experiments.md says how it was chosen.
    """
    return TrainConfig(
        model="se_resnet8_cifar",
        data="fashion-mnist",
        epochs=24,
        batch_size=128,
        lr=0.4,
        weight_decay=5e-4,
        schedule="onecycle",
        crop_padding=2,
        flip=True,
    )


def cifar() -> TrainConfig:
    """CIFAR-10 as in section 5.1 of the paper, which follows the authors of each network.

    These settings are those of residual networks (arXiv 1512.03385, section 4.2): 64,000 steps of
    128 images, which is 164 epochs of 50,000; the learning rate divided by ten after half and again
    after three quarters of them; crops from 4 pixels of padding, and flips. For
    ``resnet110_cifar`` its authors warm up: ``warmup=1`` comes close.
    """
    return TrainConfig(
        model="se_resnet20_cifar",
        data="cifar10",
        epochs=164,
        batch_size=128,
        lr=0.1,
        weight_decay=1e-4,
        schedule="step",
        milestones=(82, 123),
        crop_padding=4,
        flip=True,
    )


def imagenet(batch_size: int = 256) -> TrainConfig:
    """ImageNet as in section 5.1 of the paper: 100 epochs, the rate divided by ten every 30.

    The paper takes 1024 images per step and a learning rate of 0.6; for other batch sizes the rate
    scales in proportion (arXiv 1706.02677). The weight decay is that of residual networks, 1e-4.
    The paper uses plain momentum, this recipe Nesterov's. Name a folder of class folders as
    ``data``.

    Args:
        batch_size: images per step.
    """
    return TrainConfig(
        model="se_resnet50",
        data="./imagenet",
        epochs=100,
        batch_size=batch_size,
        lr=0.6 * batch_size / 1024,
        weight_decay=1e-4,
        schedule="step",
        milestones=(30, 60, 90),
        crop_scale=0.08,
        flip=True,
    )


def photos() -> TrainConfig:
    """Your own photos, from scratch: the default of ``senet train`` for a folder.

    A small network and strong crops, since there are seldom many photos. Starting from weights is
    better: see :func:`finetune`.
    """
    return TrainConfig(
        model="se_resnet18",
        data="./photos",
        epochs=30,
        batch_size=32,
        lr=0.05,
        weight_decay=1e-4,
        schedule="onecycle",
        label_smoothing=0.1,
        crop_scale=0.35,
        flip=True,
    )


def finetune() -> TrainConfig:
    """A few epochs from published weights on your own images: name ``weights`` and ``data``.

    AdamW, since its steps do not depend on the size of the gradients: in a network whose norms were
    folded these are large, and SGD diverges at a hundredth of its usual rate. Earlier stages, which
    see edges and colours, change less than later ones.

    Validation and test see whole photos: what tells classes apart may be at the edge, and published
    weights lose nothing by it. It was chosen on validation photos: docs/photos.md.
    """
    return TrainConfig(
        model="se_resnet50",
        data="./photos",
        epochs=5,
        batch_size=32,
        optimizer="adamw",
        lr=3e-4,
        weight_decay=0.01,
        schedule="cosine",
        warmup=0.5,
        stage_decay=0.7,
        crop=1.0,
        crop_scale=0.35,
        flip=True,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "quick": quick,
    "cifar": cifar,
    "imagenet": imagenet,
    "photos": photos,
    "finetune": finetune,
}


def recipe(name: str) -> TrainConfig:
    """Return the configuration of a recipe.

    Raises:
        ValueError: if there is no such recipe; the message suggests similar names.

    Example:
        >>> recipe("cifr")
        Traceback (most recent call last):
        ValueError: no recipe 'cifr'. Did you mean cifar? There are: quick, cifar, ...
    """
    if name not in RECIPES:
        raise ValueError(
            f"no recipe {name!r}.{near(name, RECIPES)} There are: {', '.join(RECIPES)}."
        )
    return RECIPES[name]()
