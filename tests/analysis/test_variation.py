"""The verdict on a family of networks says no more than the figures."""

from pathlib import Path

import numpy as np
import pytest

from senet import paired
from senet.analysis import statistics
from senet.analysis.subject import Subject
from senet.analysis.variation import chance, rows, verdict
from senet.runs.comparison import Network
from senet.runs.predictions import Predictions
from senet.runs.read import Run, Variation, read

IMAGES = 2000


def run(right):
    """Return a finished run that was right on the images of this mask."""
    labels = np.zeros(IMAGES, int)
    logits = np.stack([right, ~right], 1).astype(float)
    config = {"config": {"model": "m", "seed": 0}, "data": {"classes": ["a", "b"]}}
    metrics = {"epoch": np.array([1.0])}
    return Run(Path("x"), config, metrics, {"train_seconds": 1}, Predictions(labels, logits))


def right(*spans):
    found = np.zeros(IMAGES, bool)
    for start, stop in spans:
        found[start:stop] = True
    return found


def subject(plain, cost=None, **networks):
    """Return ``plain`` and a network for every value; each is a list of masks, one per seed."""
    own = {"net": Network("net", None, None)}
    own |= {f"se_net-gate={v}": Network("se_net", "net", v) for v in networks}
    masks = dict(zip(own, [plain, *networks.values()], strict=True))
    made = {name: tuple(map(run, found)) for name, found in masks.items()}
    seeds = tuple(range(len(plain)))
    return Subject.of(Variation(Path("x"), seeds, made, cost, "gate", own, {}))


NOISE = right((0, 1700), (1788, 1894))


def test_one_seed_within_noise():
    found = subject([right((0, 1788))], a=[NOISE], b=[right((0, 1790))])
    said = verdict(found)
    assert said == (
        "None of the 2 networks with SE differs from the plain one by more than the chance of "
        "which test images were drawn. Of the networks with SE, the most accurate, gate=a, and the "
        "least, gate=b, lie 0.8 percentage points apart (95 % interval −0.6 … +2.2), which does "
        "not tell these two apart."
    )


def test_one_seed_apart():
    found = subject([right((0, 1700))], a=[right((0, 1790))], b=[right((0, 1701))])
    said = verdict(found)
    assert said.startswith(
        "1 of the 2 networks with SE differs from the plain one by more than the chance of which "
        "test images were drawn (gate=a +4.5 percentage points). Of 2 comparisons, at least one "
        "would come out so by chance alone in up to 10 % of experiments. One seed cannot say "
    )
    assert said.endswith("picked as the extremes, they look farther apart than they are.")


def test_several_seeds():
    plain = [right((0, n)) for n in (1700, 1704, 1698)]
    better = [right((0, n)) for n in (1780, 1786, 1776)]
    said = verdict(subject(plain, a=better, b=better))
    assert said.startswith("Over 3 seeds, all 2 networks with SE differ from the plain one by more")
    assert "(gate=a +4.0, gate=b +4.0 percentage points)" in said
    assert "One seed" not in said
    assert "lie 0.0 percentage points apart" in said
    said = verdict(subject(plain, a=plain, b=plain))
    assert said.startswith("Over 3 seeds, none of the 2 networks with SE differs from the plain")


def test_a_single_value_is_a_pair():
    found = subject([right((0, 1788))], a=[NOISE])
    pair = statistics.compare([right((0, 1788))], [NOISE])
    assert verdict(found) == statistics.verdict(pair, "net", "se_net-gate=a")


def test_the_figures_of_a_network_are_those_of_its_runs():
    plain, better = [right((0, 1000)), right((0, 1100))], [right((0, 1300)), right((0, 1200))]
    cost = {name: {"parameters": 1.0} for name in ("net", "se_net-gate=a")}
    one, other = rows(subject(plain, cost, a=better))
    assert (one.label, one.plain, other.label, other.plain) == ("plain", True, "a", False)
    assert (one.accuracies, other.accuracies) == ((0.5, 0.55), (0.65, 0.6))
    assert (one.accuracy, other.accuracy) == (pytest.approx(0.525), pytest.approx(0.625))
    std = 0.05 / np.sqrt(2)  # of two, with n - 1
    assert (other.spread.low, other.spread.high) == pytest.approx((0.625 - std, 0.625 + std))
    assert one.comparison is None
    assert other.comparison is not None
    assert other.comparison.difference.value == pytest.approx(0.1)
    assert other.cost == {"parameters": 1.0}


def test_the_spread_of_one_seed_is_its_interval():
    _, row = rows(subject([right((0, 10))], a=[right((0, 1700))]))
    assert row.spread == paired.accuracy(1700, IMAGES)


def test_networks_with_twins_of_their_own_are_held_against_these(family_of_one_seed):
    found = Subject.of(read(family_of_one_seed))
    labels = [row.label for row in rows(found)]
    assert labels == ["plain 4+8+8", "SE 4+8+8", "plain 4+8+16", "SE 4+8+16"]
    for plain, se in zip(*[iter(rows(found))] * 2, strict=True):
        assert plain.comparison is None
        assert se.comparison is not None
        assert se.comparison.difference.value == pytest.approx(se.accuracy - plain.accuracy)
    assert "from its plain twin" in verdict(found)


def test_without_a_seed_that_all_have_finished_nothing_is_compared():
    found = subject([right((0, 1700))], a=[right((0, 1790))])
    none = Subject(
        found.folder, found.names, found.begun, [], {n: [] for n in found.names}, [], None, 1,
        found.twins, found.variation,
    )  # fmt: skip
    assert verdict(none).startswith("There is no result yet")
    assert [row.comparison for row in rows(none)] == [None, None]


def test_chance_is_a_bound():
    """At most a fifth of experiments reject any of four true nulls at 5 % each."""
    assert [chance(n) for n in (1, 4, 20, 100)] == ["5 %", "20 %", "100 %", "100 %"]
