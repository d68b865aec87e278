"""Summaries of the trainings: means, deviations, and whether SE and plain can be told apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.evidence.rows import unpacked
from benchmarks.ledger import Row
from senet.analysis import statistics
from senet.models import entry


@dataclass(frozen=True)
class Twins:
    """The trainings of a network with SE and of its plain twin, by the same recipe.

    Attributes:
        data: their data set.
        se: name of the network with SE.
        reduction: that of its SE blocks.
        recipe: their recipe.
        pairs: for each seed, the plain training and the one with SE.
    """

    data: str
    se: str
    reduction: int
    recipe: str
    pairs: Sequence[tuple[Row, Row]]

    @property
    def plain(self) -> str:
        return entry(self.se).twin

    @property
    def label(self) -> str:
        """The network with SE and its reduction, in words."""
        return f"{self.se}, r = {self.reduction}"

    def spread(self, se: bool, figure: str) -> tuple[float, float]:
        """Return mean and standard deviation of a figure; for a single seed the latter is NaN."""
        values = [pair[se][figure] for pair in self.pairs]
        if len(values) == 1:
            return values[0], float("nan")
        found = statistics.over_seeds(values)
        return found.mean, found.std

    def comparison(self) -> statistics.Comparison:
        """Compare both, image by image and seed by seed."""
        plain, se = (
            [unpacked(pair[i]["right"], pair[i]["test_images"]) for pair in self.pairs]
            for i in (0, 1)
        )
        return statistics.compare(plain, se)

    def verdict(self) -> str:
        return statistics.verdict(
            self.comparison(), self.plain, f"{self.se} (r = {self.reduction})"
        )


def twins(rows: Iterable[dict[str, Any]]) -> list[Twins]:
    """Return the finished trainings in pairs, in the order in which they were finished.

    A training without its twin, or one that diverged, is left out.
    """
    finished = {
        (row["data"], row["recipe"], row["model"], row["reduction"], row["seed"]): row
        for row in rows
        if "right" in row
    }
    found: dict[tuple[str, str, int, str], list[tuple[Row, Row]]] = {}
    for (data, recipe, model, reduction, seed), row in finished.items():
        other = finished.get((data, recipe, entry(model).twin, None, seed))
        if reduction is not None and other is not None:
            found.setdefault((data, model, reduction, recipe), []).append((other, row))
    return [
        Twins(*about, sorted(pairs, key=lambda pair: pair[0]["seed"]))
        for about, pairs in found.items()
    ]
