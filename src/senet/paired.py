"""Two networks on the same images: how certain is the difference of their accuracies?

Their answers come in pairs, and only the images on which the two disagree say anything about the
difference. All intervals are 95 % intervals. :mod:`senet.analysis.statistics` goes on from here to
several seeds.

==========  ======================================================================================
accuracy    Wilson's score interval, J. Am. Stat. Assoc. 22 (1927) 209
difference  Newcombe, Statistics in Medicine 17 (1998) 2635, method 10: it joins the two Wilson
            intervals by the correlation of the pairs. Recommended, among others, by Fagerland,
            Lydersen and Laake (ibid. 33 (2014) 2850)
mcnemar     McNemar, exact: tests whether each network wins half of the images on which the two
            disagree (Psychometrika 12 (1947) 153)
==========  ======================================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Outcomes:
    """How many test images both, one or neither of two networks classified correctly."""

    both: int
    only_plain: int
    only_se: int
    neither: int

    @property
    def images(self) -> int:
        return self.both + self.only_plain + self.only_se + self.neither

    @property
    def plain_right(self) -> int:
        return self.both + self.only_plain

    @property
    def se_right(self) -> int:
        return self.both + self.only_se


def accuracy(right: int, images: int) -> Estimate:
    """Return the share ``right / images`` with Wilson's score interval.

    (k + z²/2 ± z √(k (n − k)/n + z²/4)) / (n + z²), with z the normal quantile.

    Example:
        >>> accuracy(81, 263)  # Newcombe, Statistics in Medicine 17 (1998) 857, Table I
        Estimate(value=0.3079..., low=0.2552..., high=0.3662...)
    """
    if not 0 <= right <= images or images < 1:
        raise ValueError(f"accuracy needs 0 <= right <= images and an image: {right}, {images}")
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    middle = right + z * z / 2
    half = z * math.sqrt(right * (images - right) / images + z * z / 4)
    whole = images + z * z
    # The ends for 0 and for all images are exact; rounding must not put them out of range.
    low = 0.0 if right == 0 else (middle - half) / whole
    high = 1.0 if right == images else (middle + half) / whole
    return Estimate(right / images, low, high)


def pair(plain_right: np.ndarray, se_right: np.ndarray) -> Outcomes:
    """Count the four outcomes.

    Args:
        plain_right: whether the plain network was right, ``[images]`` booleans.
        se_right: whether the network with SE was right, on the same images in the same order.

    Raises:
        ValueError: if the shapes differ, or there are no images.
    """
    plain_right, se_right = np.asarray(plain_right, bool), np.asarray(se_right, bool)
    if plain_right.shape != se_right.shape or plain_right.ndim != 1 or not plain_right.size:
        raise ValueError(
            "paired predictions must be of the same images, at least one: "
            f"got shapes {plain_right.shape} and {se_right.shape}"
        )
    return Outcomes(
        both=int((plain_right & se_right).sum()),
        only_plain=int((plain_right & ~se_right).sum()),
        only_se=int((~plain_right & se_right).sum()),
        neither=int((~plain_right & ~se_right).sum()),
    )


def mcnemar(outcomes: Outcomes) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    If the networks were equally good, each would win half of the images on which just one is right,
    up to chance.

    Example:
        >>> round(mcnemar(Outcomes(both=59, only_plain=6, only_se=16, neither=80)), 4)
        0.0525
    """
    disagree = outcomes.only_se + outcomes.only_plain
    return 1.0 if disagree == 0 else float(stats.binomtest(outcomes.only_se, disagree).pvalue)


def difference(outcomes: Outcomes) -> Estimate:
    """Return accuracy with SE minus accuracy of the plain network, on the same images, one seed.

    Newcombe's method 10 for paired proportions: the distances d of each accuracy to the ends of
    its Wilson interval, joined as √(d₁² − 2 φ d₁ d₂ + d₂²), where φ is the correlation of being
    right, with a continuity correction if it is positive.

    Example:
        >>> difference(Outcomes(both=59, only_plain=16, only_se=6, neither=80))
        Estimate(value=-0.0621..., low=-0.1186..., high=-0.0046...)
    """
    se = accuracy(outcomes.se_right, outcomes.images)
    plain = accuracy(outcomes.plain_right, outcomes.images)
    phi = _correlation(outcomes)

    def joined(d1: float, d2: float) -> float:
        return math.sqrt(max(0.0, d1 * d1 - 2 * phi * d1 * d2 + d2 * d2))

    value = (outcomes.only_se - outcomes.only_plain) / outcomes.images
    low = value - joined(se.value - se.low, plain.high - plain.value)
    high = value + joined(se.high - se.value, plain.value - plain.low)
    return Estimate(value, low, high)


def _correlation(o: Outcomes) -> float:
    """Return φ of the 2×2 table; a positive numerator is reduced by n/2, at most to zero."""
    sides = (o.se_right, o.plain_right, o.images - o.se_right, o.images - o.plain_right)
    if 0 in sides:
        return 0.0
    numerator = o.both * o.neither - o.only_se * o.only_plain
    if numerator > 0:
        numerator = max(numerator - o.images / 2, 0)
    return numerator / math.sqrt(math.prod(sides))


def signed(share: float, digits: int = 1) -> str:
    """Return a difference of accuracies in points, with its sign: ``+0.9``, ``−0.1``, ``0.0``."""
    return with_sign(100 * share, digits)


def with_sign(number: float, digits: int = 1) -> str:
    """Return a number with its sign.

    Example:
        >>> with_sign(-1.24), with_sign(0.5), with_sign(-0.01)
        ('−1.2', '+0.5', '0.0')
    """
    number = round(number, digits)
    return f"{number:+.{digits}f}".replace("-", "−") if number else f"{0:.{digits}f}"


def interval(estimate: Estimate) -> str:
    """Return the ends of the interval of a difference: ``−0.1 … +1.9``, finer near zero.

    An end that is written as zero must be zero: the sentence with it says on which side it is.
    """
    ends = (estimate.low, estimate.high)
    digits = next((d for d in (1, 2) if all(round(100 * e, d) or not e for e in ends)), 3)
    return " … ".join(signed(end, digits) for end in ends)
