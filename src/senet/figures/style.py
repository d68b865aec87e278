"""The style of the figures, and their conversion to SVG for the page.

Figures are drawn with matplotlib's objects alone (no pyplot, no backend), in the colours of the
light page. The conversion turns these into the page's CSS variables, so that one palette serves
figures and text, in light, in dark and on paper.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import RcKeyType

WIDTH = 360
"""The width of a figure, in points: about the pixels of a phone, so that text keeps its size."""

# Blue is the plain network and orange the one with SE everywhere: every kind of colour vision can
# tell this pair apart. The ten colours of classes follow Paul Tol's "muted" scheme.
COLOUR = {
    "paper": "#fcfbf9", "card": "#ffffff", "ink": "#1b2027", "soft": "#59626e", "rule": "#e2dfd9",
    "grid": "#e9e6e0", "right": "#efece6", "plain": "#1f6fae", "se": "#c8530a",
    "k0": "#332288", "k1": "#cc6677", "k2": "#117733", "k3": "#e0a100", "k4": "#56a9d8",
    "k5": "#882255", "k6": "#44aa99", "k7": "#8f8a2c", "k8": "#aa4499", "k9": "#7a7a7a",
}  # fmt: skip
"""The palette of the figures; the page has each colour as a variable, such as ``var(--se)``."""

DARK = {
    "paper": "#14171b", "card": "#1b1f25", "ink": "#e8e6e1", "soft": "#a0a8b2", "rule": "#31363e",
    "grid": "#2a2f36", "right": "#262b32", "plain": "#62b0e8", "se": "#f58b45",
    "k0": "#9d92f0", "k1": "#f08a99", "k2": "#4fc274", "k3": "#f0c33c", "k4": "#8fd3f7",
    "k5": "#d9679a", "k6": "#6fd6c4", "k7": "#c9c35c", "k8": "#dd86d0", "k9": "#b0b0b0",
}  # fmt: skip
"""The values of these variables on the dark page."""

STYLE: dict[RcKeyType, Any] = {
    "figure.dpi": 72,  # one point of matplotlib is one unit of the SVG
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 2 / 72,
    "figure.constrained_layout.h_pad": 2 / 72,
    "font.family": "DejaVu Sans",  # bundled, so measured the same everywhere; the page has its own
    "font.size": 12,
    "text.color": COLOUR["ink"],
    "text.parse_math": False,  # a class may be called $5
    "axes.facecolor": "none",
    "axes.edgecolor": COLOUR["rule"],
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.labelcolor": COLOUR["soft"],
    "axes.labelsize": 11.5,
    "axes.labelpad": 5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOUR["grid"],
    "grid.linewidth": 1,
    "xtick.color": COLOUR["soft"],
    "ytick.color": COLOUR["soft"],
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
    "lines.linewidth": 2.4,
    "lines.solid_capstyle": "round",
    "lines.dash_capstyle": "round",
    "lines.dotted_pattern": (0.1, 2.1),
    "errorbar.capsize": 4,
    "path.simplify_threshold": 0.5,  # drops detail of 2048 channels that is too fine to see
    "svg.fonttype": "none",  # text stays text: searchable, read aloud, in the page's font
}

styled = matplotlib.rc_context(STYLE)
"""A decorator for functions that draw, which restores matplotlib's style afterwards."""


def panel(height: float, label: str) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes and a few round ticks.

    Args:
        height: height in points; the width is :data:`WIDTH`.
        label: what a reader who cannot see it should know. No two labels on a page may be equal.
    """
    figure = Figure(figsize=(WIDTH / 72, height / 72), frameon=False)
    figure.set_label(label)
    axes = figure.add_subplot()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    return figure, axes


def to_svg(figure: Figure) -> Markup:
    """Return a figure as an ``<svg>`` as wide as its place; equal figures give equal bytes.

    A group of marks with a gid gets it as its class, for the page's style.
    """
    label = str(figure.get_label())
    file = io.BytesIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": label}), warnings.catch_warnings():
        # Letters missing from matplotlib's font do not matter: the reader's browser draws them.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = ET.fromstring(file.getvalue())
    svg.attrib = {"viewBox": svg.attrib["viewBox"], "role": "img", "aria-label": label}
    for child in list(svg):  # its metadata, and a style that would affect the whole page
        if child.tag.endswith("}metadata") or child.find("{*}style") is not None:
            svg.remove(child)
    for element in svg.iter():
        _simplify(element)
    return Markup(ET.tostring(svg, encoding="unicode"))


# The names that matplotlib gives groups, counted anew in every figure: patch_1, matplotlib.axis_2.
_OWN_NAME = re.compile(r"[\w.]+_\d+")
_VARIABLE = {colour: f"var(--{name})" for name, colour in COLOUR.items()}


def _simplify(element: ET.Element) -> None:
    """Turn an element of an SVG file into one of a page: no namespaces, the page's colours."""
    element.tag = element.tag.rpartition("}")[2]
    element.tail = None
    if element.tag != "text":
        element.text = None
    attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    if element.tag == "g" and "id" in attributes:
        name = attributes.pop("id")
        if not _OWN_NAME.fullmatch(name):
            attributes["class"] = name
    if "d" in attributes:
        attributes["d"] = re.sub(
            r"-?\d+\.\d+", lambda found: f"{float(found[0]):.1f}", " ".join(attributes["d"].split())
        )
    if "style" in attributes:
        attributes["style"] = re.sub(
            r"#[0-9a-f]{6}\b", lambda found: _VARIABLE.get(found[0], found[0]), attributes["style"]
        )
    element.attrib = attributes
