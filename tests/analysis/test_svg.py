import xml.etree.ElementTree as ET

import pytest

from senet.analysis.svg import Axes, Picture, log_ticks, tag, ticks, whole_ticks


def test_what_users_write_cannot_leave_its_place():
    assert str(tag("text", "</svg><script>", class_='"x"')) == (
        '<text class="&#34;x&#34;">&lt;/svg&gt;&lt;script&gt;</text>'
    )


def test_a_picture_is_xml_with_a_label():
    picture = Picture(100, 50, "five < six & more")
    picture.add("rect", x=0, y=1.5, width=2, height=3, tip="a tip", class_="se")
    picture.text(1, 2, "a & b")
    svg = ET.fromstring(picture.__html__())
    assert svg.get("aria-label") == "five < six & more"
    assert svg.get("viewBox") == "0 0 100 50"
    assert svg[0][0].text == "a tip"
    assert svg[1].text == "a & b"


def test_axes_place_what_they_are_given():
    axes = Axes(100, 100, "", (0, 10), (-1, 1), left=10, right=10, top=20, bottom=20)
    assert (axes.at_x(0), axes.at_x(10), axes.at_x(5)) == (10, 90, 50)
    assert (axes.at_y(-1), axes.at_y(1), axes.at_y(0)) == (80, 20, 50)
    axes.line([0, 5, 10], [-1, float("nan"), 1])
    assert 'points="10.0,80.0 90.0,20.0"' in axes.__html__()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.861, 0.907, [0.87, 0.88, 0.89, 0.9]),
        (-0.013, 0.021, [-0.01, 0, 0.01, 0.02]),
        (0, 1e6, [0, 2e5, 4e5, 6e5, 8e5, 1e6]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert ticks(low, high) == expected


def test_ticks_of_what_is_counted_are_whole():
    assert whole_ticks(1, 3) == [1, 2, 3]
    assert whole_ticks(1, 1) == [1, 2]
    assert whole_ticks(1, 64) == [20, 40, 60]


def test_ticks_of_logarithms_are_never_few():
    assert log_ticks(0.3, 600) == [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500]
    assert log_ticks(0.7, 2.1) == [1, 1.5, 2]
    assert log_ticks(0.41, 0.49) == [0.42, 0.44, 0.46, 0.48]
