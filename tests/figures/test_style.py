"""Figures on the page: text stays text, colours are the page's, bytes are reproducible."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib
import pytest

from senet.figures.style import COLOUR, DARK, panel, styled, to_svg


@styled
def drawn(label="a figure", name="a < b", gid=None):
    figure, axes = panel(100, label)
    axes.plot([0, 1], [0, 1], "o-", color=COLOUR["se"], gid=gid)
    axes.text(0.5, 0.5, name)
    return figure


def test_a_figure_is_an_element_with_a_label_as_wide_as_its_place():
    svg = ET.fromstring(to_svg(drawn('five < six & "more"')))
    assert svg.tag == "svg"
    assert svg.attrib == {
        "viewBox": "0 0 360 100", "role": "img", "aria-label": "five < six & \"more\"",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["a < b & c", "</svg><script>", "$x^2$ costs $5", "外套", "fill: #c8530a", "1.23456"]
)
def test_text_stays_what_it_is(name, recwarn):
    texts = [e.text for e in ET.fromstring(to_svg(drawn(name=name))).iter("text")]
    assert name in texts
    assert not recwarn.list


def test_colours_are_those_of_the_page():
    svg = to_svg(drawn())
    styles = " ".join(re.findall(r'style="([^"]*)"', svg))
    assert "var(--se)" in styles
    assert "var(--grid)" in styles
    assert "#" not in styles.replace("url(#", "")


def test_the_palettes_name_the_same_and_tell_all_apart():
    assert COLOUR.keys() == DARK.keys()
    assert len(set(COLOUR.values())) == len(COLOUR)


def test_the_same_figure_is_the_same_bytes():
    code = (
        "from tests.figures.test_style import drawn, to_svg; import sys;"
        "sys.stdout.buffer.write(to_svg(drawn()).encode())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert to_svg(drawn()).encode() == to_svg(drawn()).encode() == there


def test_figures_on_one_page_share_no_id():
    ids = [set(re.findall(r'id="([^"]*)"', to_svg(drawn(label)))) for label in ("one", "two")]
    assert all(ids)
    assert not ids[0] & ids[1]
    for svg in (to_svg(drawn("one")), to_svg(drawn("two"))):
        used = re.findall(r'(?:href="#|url\(#)([^")]*)', svg)
        assert set(used) == set(re.findall(r'id="([^"]*)"', svg))


def test_marks_have_the_class_they_were_given():
    svg = ET.fromstring(to_svg(drawn(gid="gate k3")))
    (group,) = [g for g in svg.iter("g") if g.get("class")]
    assert group.get("class") == "gate k3"
    assert "var(--se)" in (group[0].get("style") or "")


def test_nothing_is_brought_in_or_reaches_the_page():
    svg = to_svg(drawn())
    assert "http" not in svg
    assert not {"style", "metadata", "script", "image"} & {e.tag for e in ET.fromstring(svg).iter()}


def test_drawing_leaves_matplotlib_as_it_was():
    code = (
        "import sys, matplotlib; before = dict(matplotlib.rcParams.copy());"
        "from tests.figures.test_style import drawn, to_svg; to_svg(drawn());"
        "assert dict(matplotlib.rcParams.copy()) == before;"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert matplotlib.rcParams["svg.hashsalt"] is None
