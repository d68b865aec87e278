"""Weights that no run has trained, evaluated on images with labels, as the subject of a report."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import senet
from senet.analysis.sections import Section
from senet.analysis.sections.provenance import flat
from senet.analysis.subject import Subject
from senet.data import Split
from senet.gates import blocks_of
from senet.models.weights.record import Record
from senet.runs.predictions import Predictions
from senet.runs.read import Run

_COLUMNS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class Evaluation:
    """What trained weights say about images.

    Attributes:
        name: what the user called the weights.
        network: the network with these weights, in evaluation mode.
        record: their preprocessing and the names of their classes.
        data: what the user called the images.
        images: the images, labelled with the numbers of the classes.
        predictions: the answers, in the order of the images.
        command: the command that makes the report, in pieces between which a line may end.
    """

    name: str
    network: nn.Module
    record: Record
    data: str
    images: Split
    predictions: Predictions
    command: Sequence[str]

    @cached_property
    def subject(self) -> Subject:
        """These weights as if a run of no epochs had made them."""
        role = "se" if blocks_of(self.network) else "plain"
        name = self.record.architecture.name
        config: Mapping[str, Any] = {
            "config": {"model": name, "data": self.data, "seed": 0},
            "data": {
                "name": Path(self.data).name or self.data,
                "classes": self.record.classes,
                "preprocessing": asdict(self.record.preprocessing),
            },
        }
        no_epochs = {column: np.empty(0) for column in _COLUMNS}
        run = Run(Path(), config, no_epochs, {}, self.predictions)
        return Subject(Path(), {role: name}, {role: [run]}, [0], {role: [run]}, [], None, 1)

    @property
    def facts(self) -> list[Section]:
        """Return what was evaluated, on what, and with what."""
        record = self.record
        weights = {
            "weights": self.name,
            "network": record.architecture.name,
            "options": dict(record.architecture.options),
            "classes": f"{len(record.classes):,}",
        }
        data = {"data": self.data, "images": f"{len(self.predictions.labels):,}"}
        machine = {
            "senet": senet.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
        }
        return [
            {"name": "Weights", "rows": list(flat(weights).items())},
            {"name": "Data", "rows": list(flat({**data, **asdict(record.preprocessing)}).items())},
            {"name": "Machine", "rows": list(flat(machine).items())},
        ]
