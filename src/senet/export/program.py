"""Networks as ``torch.export`` programs, which run without their Python code."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from senet import files
from senet.models.weights.record import Record

RECORD = "senet.json"
"""The name of the record among the extra files of a program."""


def require_program(path: Path) -> None:
    """Refuse a file that :func:`save_program` could not write.

    Raises:
        ValueError: if its name does not end in ``.pt2``.
        OSError: if it cannot be written there.
    """
    if path.suffix != ".pt2":
        raise ValueError(f"{path}: programs of torch.export end in .pt2")
    files.require_writable(path)


def save_program(path: str | os.PathLike[str], model: nn.Module, record: Record) -> None:
    """Write ``model`` as a ``.pt2`` file; an existing one is replaced once the new one is complete.

    ``torch.export.load(path).module()`` runs it, on batches of any size. The file carries the
    record as ``senet.json``: preprocessing, class names, metrics. :func:`read_program` returns
    both.

    Args:
        path: the file, ending in ``.pt2``.
        model: a classifier; it is exported in evaluation mode and left in the mode it was in.
        record: the record of the network.

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
        ...     again, read = read_program(f"{folder}/model.pt2")
        >>> again(torch.randn(3, 3, 32, 32)).shape, read.classes
        (torch.Size([3, 2]), ('a', 'b'))
    """
    path = Path(path)
    require_program(path)
    size = record.preprocessing.size
    images = torch.zeros(2, record.architecture.in_channels, size, size)
    batch = torch.export.Dim("batch")
    mode = model.training
    try:
        program = torch.export.export(model.eval(), (images,), dynamic_shapes=({0: batch},))
    finally:
        model.train(mode)
    with files.whole(path) as aside:
        torch.export.save(program, aside, extra_files={RECORD: record.to_json()})


def read_program(path: str | os.PathLike[str]) -> tuple[nn.Module, Record]:
    """Return the network of a ``.pt2`` file, ready to run, and its record.

    PyTorch unpickles such a file, so it can run any code: read only files that you trust.

    Args:
        path: a file that :func:`save_program` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a program, is damaged, or carries no record.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no program {path}")
    extra = {RECORD: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
    except Exception as error:  # reading rubbish can raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is not a program of torch.export: {reason}") from error
    if not extra[RECORD]:
        raise ValueError(
            f"{path} carries no {RECORD}, so its preprocessing and its classes are unknown: "
            "write it with senet.export.program.save_program"
        )
    return program.module(), Record.from_json(extra[RECORD], path)
