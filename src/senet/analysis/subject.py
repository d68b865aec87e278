"""The subject of a report: one network, a network and its plain twin, or a family, in one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from senet.analysis import statistics
from senet.models import entry, list_models
from senet.runs.predictions import Predictions
from senet.runs.read import Run, Twins, Variation


@dataclass(frozen=True)
class Subject:
    """Networks by role: ``"plain"`` and ``"se"``, of which a single run has one; in a variation the
    role of a network is its name.

    Attributes:
        folder: the run folder.
        names: role to name of the network.
        begun: role to the runs that have at least their configuration.
        seeds: seeds of the runs in ``finished``.
        finished: role to the finished runs; in a comparison only seeds that all have finished.
        missing: what is not finished yet, in words.
        cost: contents of ``cost.json``.
        seed_count: number of seeds once all have finished.
        twins: role of a network with SE to that of the plain network it is compared with.
        variation: what is varied, if anything.
    """

    folder: Path
    names: Mapping[str, str]
    begun: Mapping[str, list[Run]]
    seeds: list[int]
    finished: Mapping[str, list[Run]]
    missing: list[str]
    cost: Mapping[str, Mapping[str, float]] | None
    seed_count: int
    twins: Mapping[str, str] = field(default_factory=dict)
    variation: Variation | None = None

    @classmethod
    def of(cls, found: Run | Twins | Variation) -> Subject:
        return _of_run(found) if isinstance(found, Run) else _of_family(found)

    @property
    def two(self) -> bool:
        """Whether the subject is a network and its plain twin."""
        return self.variation is None and len(self.names) == 2

    @property
    def classes(self) -> tuple[str, ...]:
        return self.any_run.classes

    @property
    def any_run(self) -> Run:
        """A run that has at least its configuration; all share data and recipe."""
        return next(run for runs in self.begun.values() for run in runs)

    def predictions(self, role: str) -> list[Predictions]:
        """Return the predictions of every finished seed."""
        return [run.predictions for run in self.finished[role] if run.predictions is not None]

    @cached_property
    def labels(self) -> np.ndarray:
        """The right classes of the test images."""
        return self.predictions(next(iter(self.names)))[0].labels

    @property
    def comparison(self) -> statistics.Comparison:
        """The comparison of the two networks, over the seeds that both have finished."""
        return self.comparisons["se"]

    @cached_property
    def comparisons(self) -> dict[str, statistics.Comparison]:
        """The comparison of every network with SE, by role, with its plain twin."""
        return {role: self.compare(twin, role) for role, twin in self.twins.items()}

    def compare(self, one: str, other: str) -> statistics.Comparison:
        """Compare any two networks; the first takes the part of the plain one."""
        first, second = ([p.right for p in self.predictions(role)] for role in (one, other))
        return statistics.compare(first, second)

    @cached_property
    def confusion(self) -> dict[str, np.ndarray]:
        """For each role, how many images of each class were predicted as each class, ``[K, K]``.

        Rows are the true classes. With several seeds, the counts are means.
        """
        k = len(self.classes)
        return {
            role: np.mean([_confusion(p, k) for p in self.predictions(role)], axis=0)
            for role in self.names
        }


def _confusion(predictions: Predictions, classes: int) -> np.ndarray:
    cells = predictions.labels * classes + predictions.predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def _of_family(family: Twins | Variation) -> Subject:
    varied = isinstance(family, Variation)
    names = {n: n for n in family.runs} if varied else {"plain": family.plain, "se": family.se}
    networks = family.networks if varied else {}
    begun = {role: [r for r in family.runs[n] if r is not None] for role, n in names.items()}
    if not any(begun.values()):
        raise ValueError(
            f"{family.folder} holds a comparison in which no run has begun: there is nothing to "
            "report. Run the command that made it once more."
        )
    seeds, finished = family.finished()
    return Subject(
        family.folder,
        names,
        begun,
        seeds,
        {role: finished[name] for role, name in names.items()},
        family.missing,
        family.cost,
        len(family.seeds),
        {n: own.twin for n, own in networks.items() if own.twin} or {"se": "plain"},
        family if varied else None,
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
