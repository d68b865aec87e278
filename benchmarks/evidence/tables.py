"""The tables of docs/results.md about whether SE helps, from the records of the trainings."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.evidence import picture
from benchmarks.evidence.plan import trainings
from benchmarks.evidence.rows import RECORDS
from benchmarks.evidence.summary import Twins, twins
from benchmarks.ledger import Row
from benchmarks.table import markdown
from senet import known

PICTURE = Path(__file__).parent.parent.parent / "docs" / "evidence.svg"


def read() -> list[tuple[Row, dict[str, Any]]]:
    """Return the finished trainings in their planned order, each with its environment.

    Raises:
        FileNotFoundError: if there is none.
    """
    found = []
    for training in trainings():
        path = RECORDS / f"{training.name}.json"
        if path.exists():
            record = json.loads(path.read_text())
            found.append((record["tables"]["training"], record["environment"]))
    if not found:
        raise FileNotFoundError(f"no record in {RECORDS}: `make evidence` makes them")
    return found


def each() -> str:
    """Return a line for every finished training, and how many are not."""
    found, planned = read(), sum(1 for _ in trainings())
    body = []
    for row, environment in found:
        body.append(
            (
                row["data"],
                row["model"],
                row["reduction"] or "",
                row["seed"],
                f"{100 * row['test_accuracy']:.2f}",
                f"{100 * row['curve'][-1]['train_accuracy']:.2f}",
                f"{row['seconds']:.0f}",
                f"{row['clock_seconds']:.0f}",
                environment["date"],
            )
        )
    head = (
        "data", "network", "r", "seed", "test accuracy, %", "training accuracy, %",
        "processor seconds", "seconds by the clock", "date",
    )  # fmt: skip
    done = f"\n{len(found)} of {planned} trainings are done.\n"
    return markdown(head, body) + done + _source([environment for _, environment in found])


def compared() -> str:
    """Return what can be compared so far."""
    return pairs(twins(row for row, _ in read()))


def pairs(found: Sequence[Twins]) -> str:
    """Return a line for each network with SE and its twin, and what their tests say.

    Raises:
        FileNotFoundError: if there is no pair.
    """
    if not found:
        raise FileNotFoundError("there is no pair of finished trainings yet")
    head = (
        "data", "network with SE", "recipe", "seeds", "plain, test accuracy %",
        "SE, test accuracy %", "gain", "95 % interval", "seconds a training: plain", "SE",
    )  # fmt: skip
    said = [f"* {pair.data}, {pair.recipe}: {pair.verdict()}" for pair in found]
    return markdown(head, map(_pair, found)) + "\n" + "\n".join(said) + "\n"


def _pair(pair: Twins) -> tuple[object, ...]:
    gain = pair.comparison().difference
    accuracies = []
    for se in (False, True):
        mean, deviation = pair.spread(se, "test_accuracy")
        spread = "" if math.isnan(deviation) else f" ± {100 * deviation:.2f}"
        accuracies.append(f"{100 * mean:.2f}{spread}")
    return (
        pair.data, pair.label, pair.recipe, len(pair.pairs), *accuracies,
        f"{100 * gain.value:+.2f}", f"{100 * gain.low:+.2f} … {100 * gain.high:+.2f}",
        *(f"{pair.spread(se, 'seconds')[0]:.0f}" for se in (False, True)),
    )  # fmt: skip


def curves() -> str:
    """Write the picture, and return the lines that show it."""
    return picture.save(twins(row for row, _ in read()), PICTURE)


def weights() -> str:
    """Return a line for every set of this project's own weights that the package holds.

    Raises:
        FileNotFoundError: if it holds none.
    """
    own = {n: f for n, f in known.weights().items() if known.shipped(f["source"])}
    if not own:
        raise FileNotFoundError(f"no weights in {known.TRAINED}: `make evidence-weights` puts them")
    body = [(f"`{name}`", f"{facts['top1']:.2f}", facts["trained"]) for name, facts in own.items()]
    return markdown(("set", "test accuracy, %", "trained"), body)


def _source(environments: Sequence[dict[str, Any]]) -> str:
    """Return the machines of all records, most of them first."""
    said = Counter(
        f"{e['device']}, {e['threads']} thread, torch {e['torch']}" for e in environments
    )
    machines = "; ".join(machine for machine, _ in said.most_common())
    return f"\n{machines}. Records: `{RECORDS.relative_to(RECORDS.parent.parent.parent)}`.\n"


TABLES: dict[str, Callable[[], str]] = {
    "evidence-compared": compared,
    "evidence-curves": curves,
    "evidence-each": each,
    "evidence-weights": weights,
}
