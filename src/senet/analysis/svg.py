"""Pictures as inline SVG: axes in the units of the data, and marks that the page's style colours.

No picture names a colour. Marks carry the classes of ``report.css`` (``se``, ``plain``, ``k3`` for
class 3 …), so that one palette serves the whole page, in light, in dark and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

WIDTH = 360
"""Of most pictures, in their own units: about what a phone shows, so that text keeps its size."""


def tag(name: str, text: object = None, **attributes: object) -> Markup:
    """One element. Trailing underscores go, other underscores become hyphens; None is left out.

    Example:
        >>> print(tag("text", "a < b", x=1.0, text_anchor="end", class_="tick"))
        <text x="1" text-anchor="end" class="tick">a &lt; b</text>
    """
    parts = [
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _plain(value))
        for key, value in attributes.items()
        if value is not None
    ]
    opening = Markup("<") + Markup(name) + Markup("").join(parts)
    if text is None:
        return opening + Markup("/>")
    return opening + Markup(">") + escape(text) + Markup(f"</{name}>")


def _plain(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


class Picture:
    """An SVG of a fixed shape that scales to its place; marks are drawn in the order they come.

    Args:
        width: of its coordinates; text of 12 units is read best where a unit is about a pixel.
        height: likewise.
        label: what a reader who cannot see it should know.
    """

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height, self.label = width, height, label
        self._marks: list[Markup] = []

    def add(self, name: str, text: object = None, *, tip: str | None = None, **attributes) -> None:
        """Draw one element, with ``tip`` shown where the pointer rests on it."""
        if tip is not None:
            text = tag("title", tip) + escape("" if text is None else text)
        self._marks.append(tag(name, text, **attributes))

    def text(self, x: float, y: float, text: object, **attributes) -> None:
        self.add("text", text, x=x, y=y, **attributes)

    def __html__(self) -> str:
        return tag(
            "svg",
            Markup("\n").join(self._marks),
            viewBox=f"0 0 {_plain(float(self.width))} {_plain(float(self.height))}",
            role="img",
            aria_label=self.label,
        )


class Axes(Picture):
    """A picture with an x and a y axis.

    Args:
        width, height, label: of the :class:`Picture`.
        x: ends of the horizontal axis, in the data's units.
        y: ends of the vertical axis.
        left, right, top, bottom: margins that hold the ticks' labels.
        log: whether the vertical axis is logarithmic.
    """

    def __init__(
        self,
        width: float,
        height: float,
        label: str,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        left: float = 44,
        right: float = 12,
        top: float = 12,
        bottom: float = 36,
        log: bool = False,
    ) -> None:
        super().__init__(width, height, label)
        self.scale_y = math.log if log else float
        self.xs, self.ys = x, (self.scale_y(y[0]), self.scale_y(y[1]))
        self.left, self.right, self.top, self.bottom = left, width - right, top, height - bottom

    def at_x(self, value: float) -> float:
        low, high = self.xs
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def at_y(self, value: float) -> float:
        low, high = self.ys
        return self.bottom - (self.scale_y(value) - low) / (high - low) * (self.bottom - self.top)

    def grid_x(self, values: Iterable[tuple[float, str]], lines: bool = True) -> None:
        """Labels under the axis, and grid lines above it."""
        for value, label in values:
            x = self.at_x(value)
            if lines:
                self.add("line", x1=x, x2=x, y1=self.top, y2=self.bottom, class_="grid")
            self.text(x, self.bottom + 16, label, text_anchor="middle", class_="tick")

    def grid_y(self, values: Iterable[tuple[float, str]]) -> None:
        """Labels left of the axis, and grid lines right of it."""
        for value, label in values:
            y = self.at_y(value)
            self.add("line", x1=self.left, x2=self.right, y1=y, y2=y, class_="grid")
            self.text(self.left - 7, y + 4, label, text_anchor="end", class_="tick")

    def name_x(self, name: str) -> None:
        middle = (self.left + self.right) / 2
        self.text(middle, self.bottom + 32, name, text_anchor="middle", class_="axis")

    def line(self, xs: Sequence[float], ys: Sequence[float], **attributes) -> None:
        """A polyline; points that are not numbers are left out."""
        points = [
            f"{self.at_x(x):.1f},{self.at_y(y):.1f}"
            for x, y in zip(xs, ys, strict=True)
            if math.isfinite(y)
        ]
        self.add("polyline", points=" ".join(points), **attributes)

    def band(
        self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], **attributes
    ) -> None:
        """The area between two lines."""
        there = [f"{self.at_x(x):.1f},{self.at_y(y):.1f}" for x, y in zip(xs, highs, strict=True)]
        back = [f"{self.at_x(x):.1f},{self.at_y(y):.1f}" for x, y in zip(xs, lows, strict=True)]
        self.add("polygon", points=" ".join(there + back[::-1]), **attributes)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, in steps of 1, 2 or 5 times a power of ten.

    Example:
        >>> ticks(0.03, 0.27)
        [0.05, 0.1, 0.15, 0.2, 0.25]
    """
    assert high > low
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [round(i * step, digits) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from ``low`` to ``high``; :func:`ticks` if they are few.

    Example:
        >>> log_ticks(0.3, 4)
        [0.5, 1.0, 2.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    inside = [t for t in every if low <= t <= high]
    return inside if len(inside) > 2 else ticks(low, high)


def whole_ticks(low: int, high: int, most: int = 6) -> list[float]:
    """As :func:`ticks`, for what is counted: epochs, channels."""
    return [t for t in ticks(low, max(high, low + 1), most) if t == int(t)]


def padded(low: float, high: float, share: float) -> tuple[float, float]:
    """The ends of an axis that leaves a share of its length free on both sides."""
    room = share * (high - low) or 0.5 * abs(high) or 0.5
    return low - room, high + room


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage, held together by a thin space.

    Example:
        >>> percent(0.894)
        '89.4\u202f%'
    """
    return f"{100 * share:.{digits}f}\u202f%"
