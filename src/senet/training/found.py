"""What a training prints before it begins: the images that were found, and the network."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.cells import cell_len, set_cell_size

from senet.counted import counted
from senet.data import Source, Split
from senet.data.unequal import about_unequal
from senet.models.weights.at_hand import beside, downloaded
from senet.models.weights.published import list_weights
from senet.training.config import TrainConfig

MOST_CLASSES = 20
"""Up to so many classes get a line each; for more, only the range of their sizes is printed."""

USUAL_WEIGHTS = "se_resnet50.timm_a1_in1k"
"""The published set that is named where none is at hand."""

LONGEST_NAME = 40
SPLITS = ("train", "val", "test")


def found_images(source: Source) -> list[str]:
    """Return lines about the images: how many, of which classes and sizes, in which splits.

    Example:
        >>> from senet.data import open_source
        >>> print(*found_images(open_source("fashion-mnist", limit=100))[:5], sep=chr(10))
        fashion-mnist: 300 images of 10 classes, 28 × 28 pixels
        <BLANKLINE>
        class        train  val  test
        T-shirt/top     10   10    10
        Trouser         10   10    10
    """
    splits = {name: split for name in SPLITS if (split := getattr(source, name))}
    images = sum(map(len, splits.values()))
    what = f"{counted(images, 'image')} of {counted(len(source.classes), 'class', 'classes')}"
    title = f"{source.name}: {what}, {_sizes(source)}"
    names = [*source.classes, "all"]
    counts = {name: _counts(split, len(source.classes)) for name, split in splits.items()}
    least, most = min(counts["train"][:-1]), max(counts["train"][:-1])
    about = about_unequal(counts["train"][:-1])
    unequal = ["", f"classes are unequal: {about}"] if about else []
    if len(source.classes) <= MOST_CLASSES:
        return [title, "", *_table(names, counts), *unequal]
    parts = ", ".join(f"{counts[name][-1]:,} {name}" for name in splits)
    sizes = f"{parts}; each class has {least:,} to {most:,} training images"
    return [title, sizes, *unequal]


def found_network(
    config: TrainConfig, model: torch.nn.Module, source: Source, device: str, steps: int
) -> list[str]:
    """Return lines about the network, and about how much there is to do."""
    parameters = sum(p.numel() for p in model.parameters())
    size = source.preprocessing.size
    threads = counted(torch.get_num_threads(), "thread")
    where = f"{device}, {threads}" if device == "cpu" else device
    epochs, name = config.epochs, config.model
    lines = [f"{name}: {parameters:,} parameters, for images of {size} × {size} pixels; on {where}"]
    if config.preprocessing:
        lines.append(f"images with {source.preprocessing}, as --preprocessing says")
    if not epochs:
        return [*lines, "no epoch: a linear classifier on the features of the weights"]
    each = f"{counted(steps, 'step')} of {counted(config.batch_size, 'image')}"
    return [*lines, f"{counted(epochs, 'epoch')} of {each}"]


def found_weights(config: TrainConfig, source: Source) -> list[str]:
    """Return lines about weights to begin with, for photos that are trained on without any."""
    if config.weights is not None or source.path is None:
        return []
    names = [str(file) for file in beside(Path(source.path))] + downloaded()
    at_hand = (
        f"at hand: {', '.join(names[:5])}" if names else "`senet weights` lists published ones"
    )
    first = names[0] if names else USUAL_WEIGHTS
    model = "" if first in list_weights() else " --model NAME"
    command = f"senet train --data {shlex.quote(config.data)} --weights {shlex.quote(first)}{model}"
    return [f"starting from weights is nearly always better; {at_hand}", f"  {command}", ""]


def _sizes(source: Source) -> str:
    if source.extent is None:
        size = source.preprocessing.size
        return f"{size} × {size} pixels"
    (least, most) = (f"{width:,} × {height:,}" for width, height in source.extent)
    return f"{most} pixels" if least == most else f"{least} to {most} pixels"


def _counts(split: Split, classes: int) -> list[int]:
    """Return the number of images of every class, and of all."""
    return [*np.bincount(split.labels, minlength=classes).tolist(), len(split)]


def _table(names: Sequence[str], counts: dict[str, list[int]]) -> list[str]:
    shown = ["class", *(name if name.isprintable() else repr(name) for name in names)]
    wide = min(max(map(cell_len, shown)), LONGEST_NAME)
    cells = [list(counts), *zip(*([f"{n:,}" for n in own] for own in counts.values()), strict=True)]
    width = max(5, *(len(cell) for row in cells for cell in row))
    return [
        _fitted(name, wide) + "".join(f"  {cell:>{width}}" for cell in row)
        for name, row in zip(shown, cells, strict=True)
    ]


def _fitted(name: str, wide: int) -> str:
    if cell_len(name) > wide:
        return set_cell_size(name, wide - 1) + "…"
    return set_cell_size(name, wide)
