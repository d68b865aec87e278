"""A network as a program of ``torch.export``: runs without its Python code."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from senet import files
from senet.models.weights.record import Record


def save_program(path: str | os.PathLike[str], model: nn.Module, record: Record) -> None:
    """Write ``model`` as a ``.pt2`` file; an existing one is replaced only once the new is whole.

    ``torch.export.load(path).module()`` runs it, on batches of any size. The record travels in it
    as ``senet.json``: preprocessing, class names, metrics.

    Args:
        path: of the file, ending in ``.pt2``.
        model: a classifier; it is exported in evaluation mode, and left as it was.
        record: what is known of it.

    Raises:
        ValueError: if the path has another ending.
        OSError: if it cannot be written.

    Example:
        >>> import tempfile
        >>> from senet.models import create_model, entry
        >>> model = create_model("se_resnet8_cifar", num_classes=2)
        >>> record = Record(model.architecture, entry("se_resnet8_cifar").preprocessing, ("a", "b"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_program(f"{folder}/model.pt2", model, record)
        ...     again = torch.export.load(f"{folder}/model.pt2").module()
        >>> again(torch.randn(3, 3, 32, 32)).shape
        torch.Size([3, 2])
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"{path}: programs of torch.export end in .pt2")
    size = record.preprocessing.size
    images = torch.zeros(2, record.architecture.in_channels, size, size)
    batch = torch.export.Dim("batch")
    mode = model.training
    try:
        program = torch.export.export(model.eval(), (images,), dynamic_shapes=({0: batch},))
    finally:
        model.train(mode)
    with files.whole(path) as aside:
        torch.export.save(program, aside, extra_files={"senet.json": record.to_json()})
