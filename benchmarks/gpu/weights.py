"""The weights of a training of the GPU evidence: a model file, and its card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from senet.models.weights.card import card
from senet.models.weights.file import load_model, save_model
from senet.models.weights.record import Record

if TYPE_CHECKING:
    from benchmarks.gpu.run import Run

SMALLEST = "cifar10-se_resnet20_cifar"
"""Data set and network of the weights that are small enough for the repository."""


def keep(run: Run, path: Path) -> None:
    """Write the weights of a finished training beside the checkpoints."""
    images, model = run.images, run.model
    last = run.curve[-1]
    metrics = {name: last[name] for name in ("test_accuracy", "test_loss")}
    record = Record(model.architecture, images.preprocessing, images.classes, metrics)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, model, record)


def export(folder: Path, to: Path) -> Path:
    """Write the smallest trained network with SE, and a card beside it.

    Args:
        folder: the folder of the trainings.
        to: the folder to write to.

    Returns:
        the model file.

    Raises:
        FileNotFoundError: if its training has not finished there.
    """
    found = sorted(folder.glob(f"{SMALLEST}-seed*.safetensors"))
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no {SMALLEST}-seed*.safetensors: no such training has finished there. "
            "`python -m benchmarks.gpu training` makes it, on a GPU"
        )
    model, record = load_model(found[0])
    path = to / f"{SMALLEST}.safetensors"
    to.mkdir(parents=True, exist_ok=True)
    save_model(path, model, record)
    path.with_suffix(".md").write_text(card(model, record), encoding="utf-8")
    return path
