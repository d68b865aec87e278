"""How accurate the networks are, and whether they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from senet import paired
from senet.analysis import statistics, variation
from senet.analysis.figures import intervals
from senet.analysis.sections import Section
from senet.analysis.statistics import p_value, percent
from senet.analysis.subject import Subject
from senet.paired import Estimate, Outcomes, interval, mcnemar, signed


def verdict(subject: Subject) -> str:
    """Return the sentence at the top."""
    if not subject.seeds:
        return (
            "There is no result yet: "
            + ("no pair of runs has" if subject.two else "the run has not")
            + " finished. What there is so far is below."
        )
    if subject.two:
        said = statistics.verdict(subject.comparison, subject.names["plain"], subject.names["se"])
        return said.replace(" %", "\u202f%")  # no line ends before the sign
    ((role, name),) = subject.names.items()
    right = subject.predictions(role)[0].right
    estimate = paired.accuracy(int(right.sum()), len(right))
    return (
        f"{name} was right on {int(right.sum()):,} of the {len(right):,} test images: "
        f"{percent(estimate.value)}, with a 95\u202f% interval of {_range(estimate)}."
        f"{_balanced(subject, role, ' Balanced accuracy: ', ', each class counted alike.')}"
    )


def tiles(subject: Subject) -> list[Section]:
    """Return the figures that matter most."""
    if not subject.seeds:
        return []
    found = [_accuracy_tile(subject, role, name) for role, name in subject.names.items()]
    if not subject.two:
        share = np.bincount(subject.labels).max() / len(subject.labels)
        always = f"always predicting the most frequent class: {percent(share)}"
        return [*found, _tile("", "Classes", f"{len(subject.classes)}", "", always)]
    difference = subject.comparison.difference
    apart = "more than noise" if subject.comparison.told_apart else "within noise"
    if subject.comparison.over_seeds is None:
        # One seed shows that these two networks differ; it says nothing about SE yet.
        apart = "these two differ" if subject.comparison.told_apart else apart
        apart += f", McNemar {p_value(mcnemar(subject.comparison.outcomes[0]))}"
    sub = f"95 % interval {interval(difference)}: {apart}"
    found.append(_tile("", "Difference", signed(difference.value), "percentage points", sub))
    return found


def _accuracy_tile(subject: Subject, role: str, name: str) -> Section:
    estimates = _accuracies(subject, role)
    number, unit = percent(float(np.mean([e.value for e in estimates])), 1).split("\u202f")
    if len(estimates) == 1:
        sub = f"95 % interval {_range(estimates[0])}" + _balanced(subject, role, "; balanced ")
        return _tile(role, name, number, unit, sub)
    spread = statistics.over_seeds([e.value for e in estimates])
    sub = f"mean of {len(estimates)} seeds, standard deviation {100 * spread.std:.2f} points"
    sub += _balanced(subject, role, "; balanced ")
    return _tile(role, name, number, unit, sub)


def _balanced(subject: Subject, role: str, before: str, after: str = "") -> str:
    """Return the balanced accuracy in words; nothing where the classes are of one size."""
    found = variation.balanced(subject.predictions(role))
    return "" if found is None else f"{before}{percent(found)}{after}"


def _tile(role: str, name: str, value: str, unit: str, sub: str) -> Section:
    return {"role": role, "name": name, "value": value, "unit": unit, "sub": sub}


def _accuracies(subject: Subject, role: str) -> list[Estimate]:
    return [paired.accuracy(int(p.right.sum()), len(p.right)) for p in subject.predictions(role)]


def results(subject: Subject) -> Section | None:
    """Return accuracies with intervals, and the difference, as figures and as a table."""
    if not subject.seeds:
        return None
    found = {role: _accuracies(subject, role) for role in subject.names}
    section: Section = {
        "images": f"{len(subject.labels):,}",
        "accuracies": intervals.accuracies(subject.names, found),
        "accuracies_caption": "Dots with 95 % intervals"
        + (", one per seed; diamonds are their means." if len(subject.seeds) > 1 else "."),
        "differences": None,
        "table": [],
    }
    if subject.two:
        section |= _difference(subject, found)
    return section


def _difference(subject: Subject, found: Mapping[str, Sequence[Estimate]]) -> Section:
    outcomes, spread = subject.comparison.outcomes, subject.comparison.over_seeds
    each = [paired.difference(o) for o in outcomes]
    rows = [(f"seed {s}", e, len(each) == 1) for s, e in zip(subject.seeds, each, strict=True)]
    caption = "An interval that contains zero cannot tell the two apart."
    if spread is not None:
        rows.append(("all seeds", spread.interval, True))
        caption += (
            " The last row is Student's interval over the seeds: the spread from training to "
            "training."
        )
    average = "on average " if len(outcomes) > 1 else ""
    both = sum(o.both for o in outcomes) / len(outcomes)
    neither = sum(o.neither for o in outcomes) / len(outcomes)
    return {
        "differences": intervals.differences(rows),
        "differences_caption": caption,
        "outcomes": intervals.outcomes(subject.seeds, outcomes),
        "outcomes_caption": f"Both were {average}right on {both:,.0f} images and both wrong on "
        f"{neither:,.0f}; the others decide. If the networks were equally good, the border would "
        "lie in the faded middle in 95 of 100 draws: McNemar's test.",
        "table": _table(subject, found, each),
    }


def _table(
    subject: Subject, found: Mapping[str, Sequence[Estimate]], each: Sequence[Estimate]
) -> list[Section]:
    outcomes, spread = subject.comparison.outcomes, subject.comparison.over_seeds
    rows = [
        _row(str(seed), found["plain"][i].value, found["se"][i].value, each[i], outcomes[i])
        for i, seed in enumerate(subject.seeds)
    ]
    if spread is not None:
        plain, se = (float(np.mean([e.value for e in found[role]])) for role in ("plain", "se"))
        rows.append(_row("mean", plain, se, spread.interval, None))
    return rows


def _row(
    name: str, plain: float, se: float, difference: Estimate, outcomes: Outcomes | None
) -> Section:
    """Return the row of a seed, or of the mean over all seeds if there are no outcomes."""
    p = "" if outcomes is None else p_value(mcnemar(outcomes))
    return {
        "name": name,
        "plain": f"{100 * plain:.2f}",
        "se": f"{100 * se:.2f}",
        "difference": signed(difference.value, 2),
        "interval": interval(difference),
        "p": p.removeprefix("p").removeprefix(" = "),  # the head of the column says p
        "total": outcomes is None,
    }


def _range(estimate: Estimate) -> str:
    return f"{percent(estimate.low)} to {percent(estimate.high)}"
