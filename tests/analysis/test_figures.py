"""Pictures show what they are given, inside their frame."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from senet.analysis.figures import bars, confusion, intervals
from senet.analysis.figures.curves import Curve, curves
from senet.analysis.statistics import Estimate, Outcomes


def parsed(picture):
    return ET.fromstring(picture.__html__())


def marks(picture, tag, kind):
    """Elements of a tag whose classes are, or hold, ``kind``."""
    wanted = set(kind.split())
    return [e for e in parsed(picture).iter(tag) if wanted <= set((e.get("class") or "").split())]


def number(element, name):
    return float(element.get(name))


def test_differences_lie_on_their_side_of_zero():
    rows = [
        ("seed 0", Estimate(0.01, -0.01, 0.03), False),
        ("all", Estimate(-0.02, -0.03, -0.01), True),
    ]
    picture = intervals.differences(rows)
    (zero,) = marks(picture, "line", "zero")
    above, below = marks(picture, "circle", "dot")
    assert number(above, "cx") > number(zero, "x1") > number(below, "cx")
    assert "seed 0: +1.0, 95 % interval −1.0 … +3.0" in picture.label


@pytest.mark.parametrize("low", [0.0, 0.02])
def test_zero_is_in_the_picture_though_no_interval_holds_it(low):
    picture = intervals.differences([("seed 0", Estimate(low + 0.01, low, low + 0.02), True)])
    (zero,) = marks(picture, "line", "zero")
    assert picture.left <= number(zero, "x1") <= picture.right


def test_accuracies_have_a_dot_a_seed_and_a_diamond_for_their_mean():
    found = {"plain": [Estimate(0.8, 0.78, 0.82), Estimate(0.84, 0.82, 0.86)],
             "se": [Estimate(0.9, 0.88, 0.92), Estimate(0.9, 0.88, 0.92)]}  # fmt: skip
    picture = intervals.accuracies({"plain": "a", "se": "b"}, found)
    assert len(marks(picture, "circle", "dot plain")) == 2
    assert len(marks(picture, "path", "dot se")) == 1
    first, second = marks(picture, "circle", "dot plain")
    (mean,) = marks(picture, "path", "dot plain")
    x = float((mean.get("d") or "").split()[0].removeprefix("M")) + 6
    assert x == pytest.approx((number(first, "cx") + number(second, "cx")) / 2, abs=0.2)


def test_the_border_of_disagreements_divides_them():
    picture = intervals.outcomes([0], [Outcomes(both=900, only_plain=25, only_se=75, neither=0)])
    (border,) = marks(picture, "line", "border")
    assert number(border, "x1") == pytest.approx(picture.at_x(0.75))
    (fair,) = marks(picture, "rect", "fair")
    # 100 coins: 95 % of the draws have 40 to 60 heads.
    assert number(fair, "x") == pytest.approx(picture.at_x(0.4), abs=0.01)
    assert number(fair, "width") == pytest.approx(picture.at_x(0.6) - picture.at_x(0.4), abs=0.02)


def test_networks_that_never_disagree():
    picture = intervals.outcomes([0], [Outcomes(both=90, only_plain=0, only_se=0, neither=10)])
    assert not marks(picture, "line", "border")


def _curve(role, values, val=None):
    x = np.arange(1, len(values) + 1)
    return Curve(role, x, np.array(values), np.full(len(x), np.nan) if val is None else val)


def test_curves_of_seeds_are_thin_and_their_mean_is_bold():
    val = np.array([0.5, 0.7])
    found = [_curve("se", [0.4, 0.6], val), _curve("se", [0.2, 0.4], val - 0.2)]
    picture = curves("Accuracy", found, shares=True)
    thin, bold = [], []
    for line in marks(picture, "polyline", "curve se val"):
        (thin if "thin" in (line.get("class") or "") else bold).append(line)
    assert (len(thin), len(bold)) == (2, 1)
    heights = [
        [float(p.split(",")[1]) for p in (e.get("points") or "").split()] for e in thin + bold
    ]
    assert heights[2] == pytest.approx(np.mean(heights[:2], axis=0), abs=0.1)


def test_without_validation_there_is_training_alone():
    picture = curves("Loss", [_curve("plain", [2.0, 1.0])], shares=False)
    assert len(marks(picture, "polyline", "train")) == 1
    assert not marks(picture, "polyline", "val")


def test_loss_is_drawn_by_its_logarithm():
    picture = curves("Loss", [_curve("plain", [4.0, 2.0, 1.0])], shares=False)
    (line,) = marks(picture, "polyline", "train")
    y = [float(p.split(",")[1]) for p in (line.get("points") or "").split()]
    assert y[1] - y[0] == pytest.approx(y[2] - y[1], abs=0.2)


@pytest.mark.parametrize("values", [[0.0, 0.0], [0.5, 0.5], [1e9, 1e-9]])
@pytest.mark.parametrize("shares", [True, False])
def test_curves_of_odd_values_stay_in_the_picture(values, shares):
    picture = curves("Loss", [_curve("plain", values)], shares)
    for line in marks(picture, "polyline", "curve"):
        for point in (line.get("points") or "").split():
            x, y = map(float, point.split(","))
            assert picture.left - 0.1 <= x <= picture.right + 0.1
            assert picture.top - 0.1 <= y <= picture.bottom + 0.1


def test_a_single_epoch_is_a_dot():
    picture = curves("Loss", [_curve("se", [1.0])], shares=False)
    assert len(marks(picture, "circle", "dot se train")) == 1


def test_bars_of_cost_are_in_proportion():
    costs = [("plain", "a", 50.0, 0.0, "50"), ("se", "b", 100.0, 0.2, "100")]
    picture = bars.cost("Parameters", costs)
    (plain,), (se,) = marks(picture, "rect", "plain bar"), marks(picture, "rect", "se bar")
    (share,) = marks(picture, "rect", "share")
    assert number(plain, "width") == number(se, "width") / 2
    assert number(share, "width") == pytest.approx(0.2 * number(se, "width"))
    assert number(share, "x") + number(share, "width") == pytest.approx(number(se, "width"))


NAMES = ["cat", "dog", "a bird of a very long name"]


def test_a_confusion_matrix_shades_mistakes_and_not_what_is_right():
    counts = np.array([[8, 2, 0], [0, 10, 0], [5, 0, 5]])
    picture = confusion.confusion(counts, NAMES, "se", most=0.5)
    assert len(marks(picture, "rect", "cell right")) == 3
    cells = {e[0].text: number(e, "fill-opacity") for e in marks(picture, "rect", "cell se")}
    assert set(cells) == {
        "cat, said to be dog: 2 (20.0\u202f%)",
        "a bird of a very long name, said to be cat: 5 (50.0\u202f%)",
    }
    assert cells["cat, said to be dog: 2 (20.0\u202f%)"] == pytest.approx(
        0.06 + 0.94 * 0.4, abs=0.01
    )
    assert max(cells.values()) == 1


def test_a_change_of_confusion_has_the_colour_of_whom_it_speaks_for():
    plain, se = np.array([[8, 2], [1, 9]]), np.array([[9, 1], [3, 7]])
    cells = {
        e[0].text: kind
        for kind in ("plain", "se")
        for e in marks(confusion.difference(plain, se, NAMES[:2]), "rect", f"cell {kind}")
    }
    assert cells == {
        "cat, said to be cat: +1 with SE": "se",
        "cat, said to be dog: −1 with SE": "se",
        "dog, said to be cat: +2 with SE": "plain",
        "dog, said to be dog: −2 with SE": "plain",
    }


@pytest.mark.parametrize("classes", [2, 13, 41, 100])
def test_matrices_of_any_size_stay_in_their_frame(classes):
    counts = np.ones((classes, classes))
    picture = confusion.confusion(counts, [f"class {i}" for i in range(classes)], "plain", 1.0)
    for cell in marks(picture, "rect", "cell"):
        assert number(cell, "x") + number(cell, "width") <= picture.width
        assert number(cell, "y") + number(cell, "height") <= picture.height
