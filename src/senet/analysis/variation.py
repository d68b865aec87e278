"""A family of networks that differ in one option: its figures, and what they say.

Every network with SE is compared with its plain twin, as in a pair. But now there are several: the
best of many looks better than it is, and some of many intervals exclude zero by chance alone. The
sentences here say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from senet import paired
from senet.analysis import statistics
from senet.analysis.statistics import Comparison, points
from senet.analysis.subject import Subject
from senet.paired import CONFIDENCE, Estimate, interval, signed
from senet.runs.predictions import Predictions


@dataclass(frozen=True)
class Row:
    """What is known of one network of a variation.

    Attributes:
        label: its name among the others: the value of the option, or ``plain``.
        plain: whether it is a plain network.
        accuracies: test accuracy of every seed; empty if there is no result yet.
        comparison: comparison with its plain twin; ``None`` for a plain network, or if there is no
            result yet.
        cost: its figures of ``cost.json``; empty if nothing was measured yet.
        right: for a single seed, how many test images it got right, and of how many.
        balanced: the mean over seeds and classes, if the classes have unequally many test images.
    """

    label: str
    plain: bool
    accuracies: tuple[float, ...]
    comparison: Comparison | None
    cost: Mapping[str, float]
    right: tuple[int, int] | None
    balanced: float | None = None

    @property
    def accuracy(self) -> float:
        """Mean accuracy over the seeds."""
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> Estimate:
        """The 95 % interval of one seed, or the mean ± one standard deviation of several."""
        if self.right is not None:
            return paired.accuracy(*self.right)
        found = statistics.over_seeds(self.accuracies)
        return Estimate(found.mean, found.mean - found.std, found.mean + found.std)


def rows(subject: Subject) -> list[Row]:
    """Return the networks in the order of their names, each plain one before its SE networks."""
    return [_row(subject, name) for name in subject.names]


def _row(subject: Subject, name: str) -> Row:
    predictions = subject.predictions(name)
    counts = [(int(p.right.sum()), len(p.right)) for p in predictions]
    return Row(
        label(subject, name),
        name not in subject.twins,
        tuple(right / images for right, images in counts),
        subject.comparisons.get(name) if counts else None,
        (subject.cost or {}).get(subject.names[name], {}),
        counts[0] if len(counts) == 1 else None,
        balanced(predictions),
    )


def balanced(predictions: Sequence[Predictions]) -> float | None:
    """Return the mean balanced accuracy of several seeds; ``None`` for classes of one size."""
    found = [share for one in predictions if (share := one.balanced) is not None]
    return float(np.mean(found)) if found else None


def label(subject: Subject, name: str) -> str:
    """Return the name of a network among the others: ``plain``, the value, or both.

    In a pair, where no option varies, it is the name of the network.
    """
    if subject.variation is None:
        return subject.names[name]
    value = subject.variation.networks[name].value
    if name in subject.twins and one_plain(subject):
        return str(value)
    kind = "SE" if name in subject.twins else "plain"
    return kind if value is None else f"{kind} {value}"


def one_plain(subject: Subject) -> bool:
    """Whether all networks with SE have the same plain twin."""
    return len(set(subject.twins.values())) == 1


def verdict(subject: Subject) -> str:
    """Return what the comparison says, and no more."""
    if not subject.seeds:
        return "There is no result yet: there is no seed that all networks have finished."
    if len(subject.twins) == 1:
        ((name, twin),) = subject.twins.items()
        return statistics.verdict(subject.comparisons[name], twin, name)
    return f"{_against_plain(subject)} {_among_themselves(subject)}"


def _against_plain(subject: Subject) -> str:
    count, seeds = len(subject.twins), len(subject.seeds)
    over = f"Over {seeds} seeds, " if seeds > 1 else ""
    noise = "noise" if seeds > 1 else "the chance of which test images were drawn"
    plain = "the plain one" if one_plain(subject) else "its plain twin"
    apart = {name: c for name, c in subject.comparisons.items() if c.told_apart}
    if not apart:
        text = (
            f"{over}none of the {count} networks with SE differs from {plain} by more than {noise}."
        )
        return text[0].upper() + text[1:]
    which = ", ".join(
        f"{_setting(subject, n)} {signed(c.difference.value)}" for n, c in apart.items()
    )
    some = "all" if len(apart) == count else f"{len(apart)} of the"
    text = (
        f"{over}{some} {count} networks with SE "
        f"{'differs' if len(apart) == 1 else 'differ'} from {plain} by more than {noise} "
        f"({which} percentage points). Of {count} comparisons, at least one would come out so by "
        f"chance alone in up to {chance(count)} of experiments."
    )
    if seeds == 1:
        text += " One seed cannot say whether another training would agree."
    return text[0].upper() + text[1:]


def chance(comparisons: int) -> str:
    """Return how often, at most, one or more of so many intervals exclude zero if nothing differs.

    Example:
        >>> chance(4), chance(40)
        ('20 %', '100 %')
    """
    return f"{min(100, round(100 * (1 - CONFIDENCE) * comparisons))} %"


def _among_themselves(subject: Subject) -> str:
    """Return whether the best and the worst network with SE can be told apart, in words."""
    by_accuracy = sorted(subject.twins, key=lambda name: _row(subject, name).accuracy)
    worst, best = by_accuracy[0], by_accuracy[-1]
    found = subject.compare(worst, best)
    text = (
        f"Of the networks with SE, the most accurate, {_setting(subject, best)}, and the least, "
        f"{_setting(subject, worst)}, lie {points(found.difference.value, sign=False)} apart "
        f"(95 % interval {interval(found.difference)})"
    )
    if found.told_apart:
        return f"{text}; picked as the extremes, they look farther apart than they are."
    return f"{text}, which does not tell these two apart."


def _setting(subject: Subject, name: str) -> str:
    assert subject.variation is not None
    return f"{subject.variation.option}={subject.variation.networks[name].value}"
