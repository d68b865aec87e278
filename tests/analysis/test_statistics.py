"""Intervals and tests against published numbers, and against scipy's own."""

import numpy as np
import pytest
from scipy import stats

from senet.analysis.statistics import compare, over_seeds, p_value, verdict
from senet.paired import Estimate, Outcomes, accuracy, difference, interval, mcnemar, pair, signed


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998) 857, Table I, score method
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_as_published(right, images, low, high):
    found = accuracy(right, images)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@pytest.mark.parametrize(("right", "images"), [(0, 7), (7, 7), (3, 7), (1788, 2000), (1, 1)])
def test_wilson_interval_is_scipys(right, images):
    theirs = stats.binomtest(right, images).proportion_ci(0.95, method="wilson")
    found = accuracy(right, images)
    assert found.low == pytest.approx(theirs.low, abs=1e-12)
    assert found.high == pytest.approx(theirs.high, abs=1e-12)


@pytest.mark.parametrize(("right", "images"), [(0, 0), (-1, 5), (6, 5)])
def test_accuracy_of_nothing_is_refused(right, images):
    with pytest.raises(ValueError, match="accuracy needs"):
        accuracy(right, images)


# Two tables that Fagerland, Lydersen and Laake work through (Statistics in Medicine 33 (2014)
# 2850): airway hyper-responsiveness before and after a transplantation (Bentur et al. 2009), and
# complete response before and after consolidation therapy (Cavo et al. 2012).
AIRWAYS = Outcomes(both=1, only_se=1, only_plain=7, neither=12)
RESPONSE = Outcomes(both=59, only_se=6, only_plain=16, neither=80)


@pytest.mark.parametrize(
    ("outcomes", "value", "low", "high"),
    [(AIRWAYS, -0.286, -0.507, -0.026), (RESPONSE, -0.062, -0.119, -0.005)],
)
def test_newcombes_interval_as_published(outcomes, value, low, high):
    found = difference(outcomes)
    assert [round(v, 3) for v in (found.value, found.low, found.high)] == [value, low, high]


@pytest.mark.parametrize(("outcomes", "p"), [(AIRWAYS, 0.0703), (RESPONSE, 0.0525)])
def test_mcnemars_exact_test_as_published(outcomes, p):
    assert round(mcnemar(outcomes), 4) == p


def test_mcnemar_counts_only_disagreements():
    assert mcnemar(Outcomes(1000, 3, 9, 50)) == mcnemar(Outcomes(0, 3, 9, 0))
    assert mcnemar(Outcomes(1000, 0, 0, 50)) == 1.0
    # Twelve coins, three heads: 2 (1 + 12 + 66 + 220) / 4096.
    assert mcnemar(Outcomes(1000, 3, 9, 50)) == pytest.approx(598 / 4096)


def test_newcombes_interval_changes_sides_with_the_networks():
    there = difference(Outcomes(both=900, only_plain=20, only_se=35, neither=45))
    back = difference(Outcomes(both=900, only_plain=35, only_se=20, neither=45))
    turned = (-back.value, -back.high, -back.low)
    assert (there.value, there.low, there.high) == pytest.approx(turned)


def test_newcombes_interval_covers():
    """About 95 % of the intervals of 2,000 draws contain their known difference."""
    shares = (0.80, 0.04, 0.07, 0.09)  # both, only plain, only SE, neither
    draws = np.random.default_rng(0).multinomial(500, shares, size=2000)
    held = [e.low <= 0.03 <= e.high for e in (difference(Outcomes(*map(int, d))) for d in draws)]
    assert 0.935 < np.mean(held) < 0.965


@pytest.mark.parametrize(
    "outcomes",
    [Outcomes(0, 0, 0, 5), Outcomes(5, 0, 0, 0), Outcomes(0, 5, 0, 0), Outcomes(0, 0, 5, 0)],
)
def test_newcombes_interval_at_the_edges(outcomes):
    found = difference(outcomes)
    assert -1 <= found.low <= found.value <= found.high <= 1


def test_students_interval_as_published():
    # Hours of sleep gained, Student, Biometrika 6 (1908) 1: drug 2 minus drug 1, ten patients.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    spread = over_seeds([b - a for a, b in zip(first, second, strict=True)])
    assert spread.mean == pytest.approx(1.58)
    assert (round(spread.interval.low, 4), round(spread.interval.high, 4)) == (0.7001, 2.4599)


def test_students_interval_is_scipys():
    values = [0.011, -0.004, 0.007]
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = over_seeds(values).interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


def test_one_seed_has_no_spread():
    with pytest.raises(ValueError, match="at least two seeds, got 1"):
        over_seeds([0.5])


def test_pairs_must_be_of_the_same_images():
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(2,\)"):
        pair(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="got 1 plain and 0 with SE"):
        compare([np.ones(3)], [])


def _right(images: int, *spans: tuple[int, int]) -> np.ndarray:
    found = np.zeros(images, bool)
    for start, stop in spans:
        found[start:stop] = True
    return found


def test_the_verdict_says_when_one_run_cannot_tell():
    plain, se = _right(2000, (0, 1788)), _right(2000, (0, 1700), (1788, 1894))
    said = verdict(compare([plain], [se]), "ResNet-8", "SE-ResNet-8")
    assert said == (
        "SE-ResNet-8 was right on 18 more of the 2,000 test images than ResNet-8 (+0.9 percentage "
        "points); the 95 % interval of the difference, −0.5 … +2.3, contains zero, so this run "
        "alone cannot tell them apart."
    )


def test_the_verdict_of_one_seed_does_not_speak_for_others():
    comparison = compare([_right(2000, (0, 1700))], [_right(2000, (0, 1790))])
    assert comparison.told_apart
    said = verdict(comparison, "A", "B")
    assert "right on 90 more" in said
    assert "excludes zero" in said
    assert "one seed cannot say whether another training would agree" in said


def test_the_verdict_names_the_loser_too():
    said = verdict(compare([_right(2000, (0, 1790))], [_right(2000, (0, 1700))]), "A", "B")
    assert said.startswith("B was right on 90 fewer of the 2,000 test images than A (−4.5 ")


def test_the_verdict_of_equals():
    right = _right(100, (0, 90))
    said = verdict(compare([right], [right]), "A", "B")
    assert said.startswith("B and A were right on equally many of the 100 test images; the 95 %")
    assert "contains zero" in said


def test_interval_and_test_must_both_agree():
    """The interval excludes zero, but McNemar's exact p is 0.0525: they are not told apart."""
    plain = _right(161, (0, 75))
    se = _right(161, (0, 59), (75, 81))
    comparison = compare([plain], [se])
    assert comparison.outcomes[0] == RESPONSE
    assert not comparison.difference.holds_zero
    assert not comparison.told_apart
    assert "does not agree (p = 0.052), so this run alone cannot" in verdict(comparison, "A", "B")


def test_the_verdict_over_seeds_within_noise():
    plain = [_right(1000, (0, n)) for n in (880, 884, 879)]
    se = [_right(1000, (0, n)) for n in (889, 881, 890)]
    said = verdict(compare(plain, se), "A", "B")
    assert said.startswith("Over 3 seeds, B was on average 0.6 percentage points more accurate")
    assert said.endswith("contains zero, so the difference is within the noise of training.")


def test_the_verdict_over_seeds_apart():
    plain = [_right(2000, (0, n)) for n in (1700, 1704, 1698)]
    se = [_right(2000, (0, n)) for n in (1780, 1786, 1776)]
    comparison = compare(plain, se)
    assert comparison.told_apart
    assert "more than noise" in verdict(comparison, "A", "B")


def test_seeds_that_agree_on_too_few_images_do_not_convince():
    """Every seed gains one image of a hundred: a steady gain, but on only a hundred images."""
    plain, se = [_right(100, (0, 80))] * 3, [_right(100, (0, 81))] * 3
    comparison = compare(plain, se)
    assert comparison.over_seeds is not None
    assert not comparison.over_seeds.interval.holds_zero
    assert not comparison.told_apart
    assert "other images might say otherwise" in verdict(comparison, "A", "B")


def test_numbers_as_they_are_written():
    assert [signed(v) for v in (0.0091, -0.0009, 0.0004, -0.0004)] == ["+0.9", "−0.1", "0.0", "0.0"]
    assert [p_value(p) for p in (0.0004, 0.0123, 0.2345, 1.0)] == [
        "p < 0.001", "p = 0.012", "p = 0.23", "p = 1.00"
    ]  # fmt: skip
    # An end on one side of zero is never written as zero.
    assert interval(Estimate(0.01, 0.0003, 0.02)) == "+0.03 … +2.00"
    assert interval(Estimate(0.01, 0.00003, 0.02)) == "+0.003 … +2.000"
