"""What a report is about: one network, or a network and its plain twin, in one form for both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from senet.analysis import statistics
from senet.analysis.runs import Predictions, Run, Twins
from senet.models import entry, list_models


@dataclass(frozen=True)
class Subject:
    """Networks by role, ``"plain"`` and ``"se"``, of which a single run has one.

    Attributes:
        folder: the run folder.
        names: role to name of the network.
        begun: role to the runs that have at least their configuration.
        seeds: of the runs in ``finished``.
        finished: role to the finished runs; of a comparison only those whose twin has finished.
        missing: what is not there yet, in words.
        cost: of ``cost.json``.
        seed_count: seeds that there are to be.
    """

    folder: Path
    names: Mapping[str, str]
    begun: Mapping[str, list[Run]]
    seeds: list[int]
    finished: Mapping[str, list[Run]]
    missing: list[str]
    cost: Mapping[str, Mapping[str, float]] | None
    seed_count: int

    @classmethod
    def of(cls, found: Run | Twins) -> Subject:
        return _of_twins(found) if isinstance(found, Twins) else _of_run(found)

    @property
    def two(self) -> bool:
        return len(self.names) == 2

    @property
    def classes(self) -> tuple[str, ...]:
        return self.any_run.classes

    @property
    def any_run(self) -> Run:
        """A run that has at least its configuration; all share data and recipe."""
        return next(run for runs in self.begun.values() for run in runs)

    def predictions(self, role: str) -> list[Predictions]:
        """Of every finished seed."""
        return [run.predictions for run in self.finished[role] if run.predictions is not None]

    @cached_property
    def labels(self) -> np.ndarray:
        """The right classes of the test images."""
        return self.predictions(next(iter(self.names)))[0].labels

    @cached_property
    def comparison(self) -> statistics.Comparison:
        """Of the two networks, over the seeds that both have finished."""
        return statistics.compare(
            [p.right for p in self.predictions("plain")], [p.right for p in self.predictions("se")]
        )

    @cached_property
    def confusion(self) -> dict[str, np.ndarray]:
        """For each role how many images of a class were said to be of another, ``[K, K]``.

        True classes are rows. With several seeds it is their mean.
        """
        k = len(self.classes)
        return {
            role: np.mean([_confusion(p, k) for p in self.predictions(role)], axis=0)
            for role in self.names
        }


def _confusion(predictions: Predictions, classes: int) -> np.ndarray:
    cells = predictions.labels * classes + predictions.predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def _of_twins(twins: Twins) -> Subject:
    pairs = twins.pairs
    names = {"plain": twins.plain, "se": twins.se}
    begun = {role: [r for r in twins.runs[name] if r is not None] for role, name in names.items()}
    if not any(begun.values()):
        raise ValueError(
            f"{twins.folder} holds a comparison of which no run has begun: there is nothing to "
            "report. Run the command that made it again."
        )
    return Subject(
        twins.folder,
        names,
        begun,
        [seed for seed, _, _ in pairs],
        {"plain": [p for _, p, _ in pairs], "se": [s for _, _, s in pairs]},
        twins.missing,
        twins.cost,
        len(twins.seeds),
    )


def _of_run(run: Run) -> Subject:
    name = run.config["config"]["model"]
    role = "se" if name in list_models() and entry(name).has_se else "plain"
    missing = [] if run.finished else [f"{name} {run.progress}"]
    return Subject(
        run.folder,
        {role: name},
        {role: [run]},
        [run.config["config"].get("seed", 0)] if run.finished else [],
        {role: [run] if run.finished else []},
        missing,
        None,
        1,
    )
