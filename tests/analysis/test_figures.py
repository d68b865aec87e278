"""Figures show the data they are given, inside their frame."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgba
from matplotlib.text import Text

from senet.analysis.figures import bars, confusion, intervals, tradeoff
from senet.analysis.figures.curves import Curve, curves
from senet.analysis.figures.tradeoff import Point
from senet.figures import gates
from senet.figures.style import COLOUR, to_svg
from senet.gates import BlockGates
from senet.paired import Estimate, Outcomes


def axes_of(figure):
    (axes,) = figure.axes
    return axes


def lines(figure, role, style="-"):
    """Return the lines of a role and style, in the order they were drawn."""
    return [
        line
        for line in axes_of(figure).get_lines()
        if line.get_color() == COLOUR[role] and line.get_linestyle() == style
    ]


def whiskers(figure):
    """Return colour, height, value and ends of every dot and whisker."""
    found = []
    for container in axes_of(figure).containers:
        dot, _, (bar,) = container.lines
        (low, _), (high, _) = bar.get_segments()[0]
        found.append((dot.get_color(), dot.get_ydata()[0], dot.get_xdata()[0], low, high))
    return found


def boxes(figure, name):
    """Return start and length of the bars of a colour."""
    return [
        (bar.get_x(), bar.get_width())
        for bar in axes_of(figure).patches
        if to_hex(bar.get_facecolor()) == COLOUR[name]
    ]


def words(figure):
    """Return a figure as the page has it, with all its words."""
    return to_svg(figure)


def test_differences_and_their_intervals_stand_where_they_should():
    rows = [
        ("seed 0", Estimate(0.01, -0.01, 0.03), False),
        ("all", Estimate(-0.02, -0.03, -0.01), True),
    ]
    figure = intervals.differences(rows)
    assert whiskers(figure) == [
        (COLOUR["soft"], 0, 0.01, pytest.approx(-0.01), pytest.approx(0.03)),
        (COLOUR["ink"], 1, -0.02, pytest.approx(-0.03), pytest.approx(-0.01)),
    ]
    assert "seed 0: +1.0, 95 % interval −1.0 … +3.0" in str(figure.get_label())
    svg = words(figure)
    for word in ("plain better", "SE better", "seed 0", ">+2<", ">−2<", ">0<"):
        assert word in svg


@pytest.mark.parametrize("low", [0.0, 0.02, -0.05])
def test_zero_is_in_the_figure_though_no_interval_holds_it(low):
    figure = intervals.differences([("seed 0", Estimate(low + 0.01, low, low + 0.02), True)])
    left, right = axes_of(figure).get_xlim()
    assert left <= 0 <= right
    assert left < low < low + 0.02 < right


def test_accuracies_have_a_dot_a_seed_and_a_diamond_for_their_mean():
    found = {"plain": [Estimate(0.8, 0.78, 0.82), Estimate(0.84, 0.82, 0.86)],
             "se": [Estimate(0.9, 0.88, 0.92)]}  # fmt: skip
    figure = intervals.accuracies({"plain": "a", "se": "b"}, found)
    assert [(colour, value, low, high) for colour, _, value, low, high in whiskers(figure)] == [
        (COLOUR["plain"], 0.8, pytest.approx(0.78), pytest.approx(0.82)),
        (COLOUR["plain"], 0.84, pytest.approx(0.82), pytest.approx(0.86)),
        (COLOUR["se"], 0.9, pytest.approx(0.88), pytest.approx(0.92)),
    ]
    diamonds = [line for line in axes_of(figure).get_lines() if line.get_marker() == "D"]
    assert [(d.get_color(), *np.asarray(d.get_xdata())) for d in diamonds] == [
        (COLOUR["plain"], pytest.approx(0.82))
    ]
    bottom, top = axes_of(figure).get_ylim()
    assert all(top < y < bottom for _, y, *_ in whiskers(figure))


def test_the_border_of_disagreements_divides_them():
    figure = intervals.outcomes([0], [Outcomes(both=900, only_plain=25, only_se=75, neither=0)])
    assert boxes(figure, "se") == [(0, 0.75)]
    assert boxes(figure, "plain") == [(0.75, 0.25)]
    # 100 coins: 95 % of the draws have 40 to 60 heads.
    assert boxes(figure, "card") == [(pytest.approx(0.4), pytest.approx(0.2))]
    assert ">only SE 75<" in words(figure)


def test_networks_that_never_disagree():
    figure = intervals.outcomes([0], [Outcomes(both=90, only_plain=0, only_se=0, neither=10)])
    assert not axes_of(figure).patches
    assert ">only SE 0<" in words(figure)


def _curve(role, values, val=None):
    x = np.arange(1, len(values) + 1)
    return Curve(role, x, np.array(values), np.full(len(x), np.nan) if val is None else val)


def test_curves_of_seeds_are_thin_and_their_mean_is_bold():
    val = np.array([0.5, 0.7])
    found = [_curve("se", [0.4, 0.6], val), _curve("se", [0.2, 0.4], val - 0.2)]
    figure = curves("Accuracy", found, shares=True)
    first, second, mean = lines(figure, "se")
    assert first.get_linewidth() == second.get_linewidth() < mean.get_linewidth()
    np.testing.assert_allclose([first.get_ydata(), second.get_ydata()], [val, val - 0.2])
    np.testing.assert_allclose(mean.get_ydata(), val - 0.1)
    (training,) = lines(figure, "se", ":")
    np.testing.assert_allclose(training.get_ydata(), [0.3, 0.5])
    assert ">50<" in words(figure)  # per cent


def test_without_validation_there_is_training_alone():
    figure = curves("Loss", [_curve("plain", [2.0, 1.0])], shares=False)
    assert len(lines(figure, "plain", ":")) == 1
    assert not lines(figure, "plain")


def test_loss_is_drawn_by_its_logarithm():
    figure = curves("Loss", [_curve("plain", [4.0, 2.0, 1.0])], shares=False)
    place = axes_of(figure).transData.transform([(1, 4), (2, 2), (3, 1)])[:, 1]
    assert place[0] - place[1] == pytest.approx(place[1] - place[2])


@pytest.mark.parametrize(
    ("values", "marks"),
    [([0.3, 600], ["0.5", "10", "500"]), ([0.7, 2.1], ["1", "1.5", "2"]), ([0.41, 0.49], ["0.45"])],
)
def test_a_loss_has_round_ticks_and_never_few(values, marks):
    svg = words(curves("Loss", [_curve("plain", values)], shares=False))
    assert all(f">{mark}<" in svg for mark in marks)


@pytest.mark.parametrize("values", [[0.0, 0.0], [0.5, 0.5], [1e9, 1e-6], [1.0, np.nan]])
@pytest.mark.parametrize("shares", [True, False])
def test_curves_of_odd_values_stay_in_the_figure(values, shares):
    figure = curves("Loss", [_curve("plain", values)], shares)
    bottom, top = axes_of(figure).get_ylim()
    assert np.isfinite([bottom, top]).all()
    assert bottom < top
    there = [v for v in values if np.isfinite(v) and (shares or v > 0)]
    assert all(bottom <= v <= top for v in there)
    assert len(words(figure)) > 1000


def test_a_single_epoch_is_a_dot():
    (line,) = lines(curves("Loss", [_curve("se", [1.0])], shares=False), "se", ":")
    assert line.get_marker() == "o"


def test_bars_of_cost_are_in_proportion():
    costs = [("plain", "a", 50.0, 0.0, "50"), ("se", "b", 100.0, 0.2, "100 k")]
    figure = bars.cost("Parameters", costs)
    assert boxes(figure, "plain") == [(0, 50)]
    assert boxes(figure, "se") == [(0, 100)]
    assert boxes(figure, "ink") == [(80, pytest.approx(20))]  # SE's share, at the end
    assert axes_of(figure).get_xlim() == (0, 100)
    assert ">100 k<" in words(figure)


@pytest.fixture
def blocks():
    rng = torch.Generator().manual_seed(0)
    return [_block(f"layer{stage}.0.se", 4 * stage, rng) for stage in (1, 2)]


def _block(name, channels, rng):
    mean = torch.rand(3, channels, generator=rng)
    return BlockGates(
        name=name, images=torch.tensor([5, 5, 5]), mean=mean, std=0.1 * torch.ones(3, channels),
        open=0.0, closed=0.0,
    )  # fmt: skip


def test_gates_stand_in_the_order_of_their_mean(blocks):
    figures = gates.by_class(blocks, [0, 2])
    for figure, block in zip(figures, blocks, strict=True):
        first, second, overall = axes_of(figure).get_lines()
        order = block.overall.argsort()
        assert (np.diff(overall.get_ydata()) >= 0).all()
        np.testing.assert_allclose(np.asarray(first.get_ydata()), block.mean[0][order])
        np.testing.assert_allclose(np.asarray(second.get_ydata()), block.mean[2][order])
        assert (first.get_color(), second.get_color()) == (COLOUR["k0"], COLOUR["k1"])
        for kind in ("gate k0", "gate k1", "gate all"):
            assert f'class="{kind}"' in to_svg(figure)
    one, other = (axes_of(figure).get_ylim() for figure in figures)
    assert one == other


def test_bands_are_a_standard_deviation_about_the_mean(blocks):
    for figure, block in zip(gates.within_classes(blocks, [(4, 1)]), blocks, strict=True):
        (band,) = axes_of(figure).collections
        at = block.mean[1][block.overall.argsort()]
        corners = np.asarray(band.get_paths()[0].vertices)
        for channel, mean in enumerate(at.tolist(), 1):
            ys = corners[corners[:, 0] == channel][:, 1]
            assert (ys.min(), ys.max()) == pytest.approx((mean - 0.1, mean + 0.1))
        assert to_hex(np.asarray(band.get_facecolor())[0]) == COLOUR["k4"]


NAMES = ["cat", "dog", "a bird of a very long name"]


def cells(figure):
    """Return the colour of every cell by its row and column."""
    (collection,) = axes_of(figure).collections
    middles = [path.get_extents() for path in collection.get_paths()]
    return {
        (round((box.y0 + box.y1) / 2), round((box.x0 + box.x1) / 2)): tuple(colour)
        for box, colour in zip(middles, collection.get_facecolors(), strict=True)
    }


def test_a_confusion_matrix_shades_mistakes_and_not_what_is_right():
    counts = np.array([[8, 2, 0], [0, 10, 0], [5, 0, 5]])
    figure = confusion.confusion(counts, NAMES, "se", most=0.5)
    right = to_rgba(COLOUR["right"])
    assert cells(figure) == {
        (0, 0): right, (1, 1): right, (2, 2): right,
        (0, 1): pytest.approx(to_rgba(COLOUR["se"], 0.06 + 0.94 * 0.4)),
        (2, 0): pytest.approx(to_rgba(COLOUR["se"], 1)),
    }  # fmt: skip
    assert {(t.get_position(), t.get_text()) for t in axes_of(figure).texts} == {
        ((0, 0), "8"), ((1, 0), "2"), ((1, 1), "10"), ((0, 2), "5"), ((2, 2), "5"),
    }  # fmt: skip
    assert words(figure).count(">a bird of a …<") == 2


def test_a_change_of_confusion_has_the_colour_of_whom_it_speaks_for():
    plain, se = np.array([[8, 2], [1, 9]]), np.array([[9, 1], [3, 7]])
    figure = confusion.difference(plain, se, NAMES[:2])
    assert {at: to_hex(colour) for at, colour in cells(figure).items()} == {
        (0, 0): COLOUR["se"], (0, 1): COLOUR["se"],  # more right, fewer mistakes
        (1, 0): COLOUR["plain"], (1, 1): COLOUR["plain"],
    }  # fmt: skip
    assert {t.get_text() for t in axes_of(figure).texts} == {"+1", "−1", "+2", "−2"}


@pytest.mark.parametrize("classes", [2, 13, confusion.LARGEST])
def test_matrices_of_any_size_have_all_cells_and_names(classes):
    counts = np.ones((classes, classes))
    figure = confusion.confusion(counts, [f"class {i}" for i in range(classes)], "plain", 1.0)
    assert len(cells(figure)) == classes**2
    assert words(figure).count(f">class {classes - 1}<") == 2
    assert bool(axes_of(figure).texts) == (classes <= confusion.NUMBERED)


def _point(label, cost, accuracy, seeds=(), plain=False):
    return Point(label, plain, cost, Estimate(accuracy, accuracy - 0.01, accuracy + 0.02), seeds)


def marks(figure):
    """Return colour, cost, accuracy and the ends of the whisker of every network."""
    found = []
    for container in axes_of(figure).containers:
        dot, _, (bar,) = container.lines
        (_, low), (_, high) = bar.get_segments()[0]
        found.append((dot.get_color(), dot.get_xdata()[0], dot.get_ydata()[0], low, high))
    return found


def test_networks_stand_at_their_cost_and_accuracy():
    points = [_point("plain", 75e3, 0.8, plain=True), _point("16", 79e3, 0.85, (0.84, 0.86))]
    figure = tradeoff.tradeoff("parameters, thousands", 1e3, points)
    assert marks(figure) == [
        (COLOUR["plain"], 75e3, 0.8, pytest.approx(0.79), pytest.approx(0.82)),
        (COLOUR["se"], 79e3, 0.85, pytest.approx(0.84), pytest.approx(0.87)),
    ]
    (seeds,) = (line for line in axes_of(figure).get_lines() if line.get_marker() == ".")
    assert (list(seeds.get_xdata()), list(seeds.get_ydata())) == ([79e3] * 2, [0.84, 0.86])
    label = str(figure.get_label())
    assert "plain: 75, 80.0\u202f% (79.0\u202f% to 82.0\u202f%); 16: 79, 85.0" in label
    for word in (">plain<", ">16<", ">76<", ">80<", "parameters, thousands"):
        assert word in words(figure)


def test_networks_of_one_cost_stand_side_by_side():
    same = [_point(str(i), 2000, 0.8 + i / 1000) for i in range(3)]
    points = [_point("plain", 1000, 0.8, plain=True), *same]
    found = marks(tradeoff.tradeoff("parameters", 1, points))
    assert [x for _, x, *_ in found] == [1000, 2000 - 45, 2000, 2000 + 45]


@pytest.mark.parametrize("accuracies", [[0.8] * 9, [0.8, 0.801, 0.802, 0.9], [0.0, 1.0], [0.5]])
@pytest.mark.parametrize("costs", [lambda i: 3.0, lambda i: float(i)])
def test_no_name_covers_another(accuracies, costs):
    points = [_point(f"name {i}", costs(i), a) for i, a in enumerate(accuracies)]
    figure = tradeoff.tradeoff("time, ms", 1, points)
    to_svg(figure)
    texts = axes_of(figure).texts
    # The extent of the words alone: that of an annotation includes its line.
    extents = [Text.get_window_extent(t, figure._get_renderer()) for t in texts]
    by_height = sorted(range(len(texts)), key=lambda i: extents[i].y0)
    boxes = [extents[i] for i in by_height]
    assert all(a.y1 <= b.y0 for a, b in pairwise(boxes))
    assert [accuracies[i] for i in by_height] == sorted(accuracies)
    width, height = figure.bbox.size
    assert all(b.y0 >= 0 and b.y1 <= height and b.x1 <= width for b in boxes)
