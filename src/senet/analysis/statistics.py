"""How certain is a difference of two accuracies, over all seeds? Intervals, and a plain sentence.

For each seed, a network and its plain twin are compared on the same test images as
:mod:`senet.paired` does. All intervals are 95 % intervals.

======================  ==========================================================================
difference over seeds   Student's paired t interval: what other trainings would do
difference over images  Student's t interval of the gain per image, averaged over the seeds: what
                        other test images would do
======================  ==========================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from senet.paired import CONFIDENCE, Estimate, Outcomes, difference, interval, mcnemar, pair, signed


@dataclass(frozen=True)
class Spread:
    """The same figure from several seeds; ``interval`` is Student's interval of their mean."""

    values: tuple[float, ...]
    std: float
    interval: Estimate

    @property
    def mean(self) -> float:
        return self.interval.value


@dataclass(frozen=True)
class Comparison:
    """A network with SE and its plain twin on the same test images, trained with every seed.

    Attributes:
        outcomes: the outcomes of each seed.
        over_seeds: accuracy with SE minus accuracy of the plain network, seed by seed; ``None``
            for a single seed.
        over_images: the same difference averaged over the seeds, with its interval over test
            images.
    """

    outcomes: Sequence[Outcomes]
    over_seeds: Spread | None
    over_images: Estimate

    @property
    def difference(self) -> Estimate:
        """The difference of the accuracies, with the interval to quote with it."""
        return self.over_images if self.over_seeds is None else self.over_seeds.interval

    @property
    def told_apart(self) -> bool:
        """Whether the difference is more than noise.

        With one seed, by the interval and by McNemar's test. With several, by the interval over
        seeds and by that over images, since other trainings *and* other images should agree.
        """
        if self.over_images.holds_zero or self.difference.holds_zero:
            return False
        return self.over_seeds is not None or mcnemar(self.outcomes[0]) < 1 - CONFIDENCE


def over_seeds(values: Sequence[float]) -> Spread:
    """Return mean, standard deviation (n − 1) and Student's interval of a figure over the seeds.

    For a paired interval, pass the differences of the pairs.

    Example:
        >>> spread = over_seeds([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
        >>> round(spread.mean, 2), round(spread.std, 2)
        (0.75, 1.79)
    """
    if len(values) < 2:
        raise ValueError(f"a spread needs at least two seeds, got {len(values)}")
    return Spread(tuple(values), float(np.std(values, ddof=1)), _student(np.asarray(values)))


def _student(values: np.ndarray) -> Estimate:
    n, mean = len(values), float(np.mean(values))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half)


def compare(plain_right: Sequence[np.ndarray], se_right: Sequence[np.ndarray]) -> Comparison:
    """Compare a network with its plain twin, seed by seed and image by image.

    Args:
        plain_right: for every seed, whether the plain network was right, ``[images]`` booleans.
        se_right: the same for the network with SE: same seeds, same images, in the same order.

    Raises:
        ValueError: if seeds or images do not match, or there are none.
    """
    if not plain_right or len(plain_right) != len(se_right):
        raise ValueError(
            "a comparison needs both networks for every seed: "
            f"got {len(plain_right)} plain and {len(se_right)} with SE"
        )
    outcomes = tuple(pair(p, s) for p, s in zip(plain_right, se_right, strict=True))
    if len(outcomes) == 1:
        return Comparison(outcomes, None, difference(outcomes[0]))
    gains = np.mean(np.asarray(se_right, float) - np.asarray(plain_right, float), axis=0)
    differences = [(o.only_se - o.only_plain) / o.images for o in outcomes]
    return Comparison(outcomes, over_seeds(differences), _student(gains))


def verdict(comparison: Comparison, plain: str, se: str) -> str:
    """Return what the comparison says, and no more, in one or two sentences.

    Args:
        comparison: the result of :func:`compare`.
        plain: name of the plain network.
        se: name of the network with SE.

    Example:
        >>> right = np.arange(2000)
        >>> print(verdict(compare([right < 1780], [right < 1798]), "ResNet-8", "SE-ResNet-8"))
        SE-ResNet-8 was right on 18 more of the 2,000 test images than ResNet-8 ...
    """
    seeds = len(comparison.outcomes)
    return (
        _verdict_of_one(comparison, plain, se)
        if seeds == 1
        else _verdict_of_many(comparison, plain, se)
    )


def _verdict_of_one(comparison: Comparison, plain: str, se: str) -> str:
    (outcomes,) = comparison.outcomes
    gain = outcomes.only_se - outcomes.only_plain
    if gain == 0:
        says = f"{se} and {plain} were right on equally many of the {outcomes.images:,} test images"
    else:
        says = (
            f"{se} was right on {abs(gain):,} {'more' if gain > 0 else 'fewer'} of the "
            f"{outcomes.images:,} test images than {plain} ({points(comparison.difference.value)})"
        )
    ends = interval(comparison.difference)
    if comparison.told_apart:
        return (
            f"{says}; the 95 % interval of the difference, {ends}, excludes zero. These two "
            "trained networks differ by more than the chance of which images were drawn; one seed "
            "cannot say whether another training would agree."
        )
    if comparison.difference.holds_zero:
        return (
            f"{says}; the 95 % interval of the difference, {ends}, contains zero, so this run "
            "alone cannot tell them apart."
        )
    return (
        f"{says}; the 95 % interval of the difference, {ends}, just excludes zero, but "
        f"McNemar's exact test does not agree ({p_value(mcnemar(outcomes))}), so this run alone "
        "cannot tell them apart."
    )


def _verdict_of_many(comparison: Comparison, plain: str, se: str) -> str:
    spread, seeds = comparison.over_seeds, len(comparison.outcomes)
    assert spread is not None
    images = comparison.outcomes[0].images
    if round(100 * spread.mean, 1) == 0:
        says = f"Over {seeds} seeds, {se} and {plain} were on average equally accurate"
    else:
        says = (
            f"Over {seeds} seeds, {se} was on average {points(abs(spread.mean), sign=False)} "
            f"{'more' if spread.mean > 0 else 'less'} accurate than {plain}"
        )
    of_seeds = f"the 95 % interval over seeds, {interval(spread.interval)},"
    if comparison.told_apart:
        return (
            f"{says}; {of_seeds} excludes zero, and so does the one over the {images:,} test "
            f"images, {interval(comparison.over_images)}. On this data, with this recipe, the "
            "difference is more than noise."
        )
    if spread.interval.holds_zero:
        return (
            f"{says}; {of_seeds} contains zero, so the difference is within the noise of training."
        )
    return (
        f"{says}; {of_seeds} excludes zero, but the one over the {images:,} test images, "
        f"{interval(comparison.over_images)}, contains it, so other images might say otherwise."
    )


def points(share: float, sign: bool = True) -> str:
    """Return a difference of accuracies in words, such as ``+0.9 percentage points``."""
    number = signed(share) if sign else f"{100 * share:.1f}"
    return f"{number} percentage point{'' if number.lstrip('+−') == '1.0' else 's'}"


def percent(share: float, digits: int = 1) -> str:
    """Return a share as a percentage, with a thin no-break space.

    Example:
        >>> percent(0.894)
        '89.4\u202f%'
    """
    return f"{100 * share:.{digits}f}\u202f%"


def p_value(p: float) -> str:
    """Return a p-value to the digits that matter: ``p = 0.03``, ``p < 0.001``."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
