"""Evaluation of a network on a split: its logits, and the figures computed from them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from senet.data import Split
from senet.data.batches import Batches
from senet.device import find_device
from senet.fuse.worth import fast_for
from senet.preprocessing import Preprocessing
from senet.runs.scored import open_scored
from senet.training.vanished import about_unreadable


def predict_split(
    model: nn.Module,
    split: Split,
    preprocessing: Preprocessing,
    *,
    batch_size: int = 256,
    device: torch.device | str = "auto",
    workers: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits of every image of a split, in its order.

    Images that can no longer be read are left out, with a warning that names them.

    Args:
        model: a classifier; left in evaluation mode, on the device.
        split: the images.
        preprocessing: the preprocessing that the network expects.
        batch_size: images per batch.
        device: where to compute; ``"auto"`` takes a GPU if there is one.
        workers: processes that decode images; ``None`` for a suitable number.

    Returns:
        labels, int64 ``[n]``, and logits, float32 ``[n, K]``.
    """
    place = find_device(device)
    model = model.eval().to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = Batches(split, preprocessing, batch_size, place, workers)
    size = preprocessing.size
    example = torch.zeros(2, preprocessing.channels, size, size, device=place)
    run = fast_for(model, len(split), example)
    with torch.inference_mode():  # the model was moved outside: its parameters can still be trained
        logits = torch.cat([run(images).float().cpu() for images, _ in batches]).numpy()
    if not batches.bad:
        return split.labels, logits
    note = f"of {len(split):,}, which do not count"
    warnings.warn(about_unreadable(batches.bad_files, note), stacklevel=2)
    return np.delete(split.labels, batches.bad), np.delete(logits, batches.bad, 0)


def metrics(labels: np.ndarray, logits: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Return the figures of a classifier.

    Args:
        labels: class numbers, ``[n]``.
        logits: ``[n, K]``.
        classes: names of the K classes.

    Returns:
        ``accuracy``; ``top5``, the share of images whose right class has one of the five highest
        logits, or ``None`` for at most five classes; ``loss``, the mean cross-entropy;
        ``class_accuracy`` by the name of the class, ``None`` for a class without an image;
        ``balanced_accuracy``, the mean of these, in which each class counts the same; and
        ``images``, n.

    Example:
        >>> found = metrics(np.array([0, 1]), np.array([[2.0, 0.0], [2.0, 0.0]]), ("cat", "dog"))
        >>> found["accuracy"], found["class_accuracy"]
        (0.5, {'cat': 1.0, 'dog': 0.0})
    """
    right = logits.argmax(1) == labels
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]
    top5 = None
    if len(classes) > 5:
        highest = np.argpartition(logits, -5, axis=1)[:, -5:]
        top5 = float((highest == labels[:, None]).any(1).mean())
    by_class = {
        name: float(right[labels == k].mean()) if (labels == k).any() else None
        for k, name in enumerate(classes)
    }
    return {
        "accuracy": float(right.mean()),
        "top5": top5,
        "loss": float(losses.mean()),
        "class_accuracy": by_class,
        "balanced_accuracy": float(np.mean([a for a in by_class.values() if a is not None])),
        "images": len(labels),
    }


def evaluate(
    model: str | os.PathLike[str],
    data: str | None = None,
    *,
    split: str | None = None,
    batch_size: int = 256,
    device: torch.device | str = "auto",
    workers: int | None = None,
    network: str | None = None,
    preprocessing: str | None = None,
) -> dict[str, Any]:
    """Evaluate a run or other weights, by default on images that it was not trained on.

    Args:
        model: the folder of a finished run, a model file, or other weights, as
            :func:`~senet.runs.trained.open_trained` takes them.
        data: a data set or a folder, whose classes are some or all of the model's, in any order; by
            default that of the run, with the split into training, validation and test images that
            the run recorded. Any other folder without train, val and test folders is taken whole.
        split: ``"test"``, ``"val"`` or ``"train"`` (without augmentation); by default ``"test"`` if
            there are splits.
        batch_size: images per batch.
        device: where to compute; ``"auto"`` takes a GPU if there is one.
        workers: processes that decode images; ``None`` for a suitable number.
        network: name of the network, for weights that do not name it.
        preprocessing: how its images are taken, for weights that do not say it: see
            :func:`~senet.runs.normalisation.asked_preprocessing`.

    Returns:
        the figures of :func:`metrics`; ``split``, which may be ``"all"``; ``new``, the same figures
        for images that were added to the run's own folder since, or ``None``; ``seen``, how many
        images of another folder the network was trained on; and ``preprocessing``, how the images
        were taken.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if the data have a class that the model does not know, a split is missing, or
            ``data`` is needed but not given.
    """
    classifier, record, found = open_scored(
        model, data, split, network=network, preprocessing=preprocessing
    )

    def figures(images: Split) -> dict[str, Any]:
        labels, logits = predict_split(
            classifier,
            images,
            record.preprocessing,
            batch_size=batch_size,
            device=device,
            workers=workers,
        )
        return metrics(labels, logits, record.classes)

    return figures(found.images) | {
        "split": found.split,
        "new": figures(found.new) if found.new else None,
        "seen": found.seen,
        "preprocessing": asdict(record.preprocessing),
    }
