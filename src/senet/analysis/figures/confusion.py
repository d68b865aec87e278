"""Confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from senet.analysis.svg import WIDTH, Picture, percent

LARGEST = 100
"""Classes beyond which a matrix is too fine to see."""


def confusion(counts: np.ndarray, classes: Sequence[str], role: str, most: float) -> Picture:
    """A confusion matrix: true classes down, predictions across; mistakes shaded.

    Args:
        counts: images ``[K, K]``, a mean over the seeds where there are several.
        classes: their names.
        role: whose predictions.
        most: the share of a class's images that is shaded fully; the same for both networks.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    right = np.trace(counts) / max(counts.sum(), 1)
    picture = _Matrix(classes, f"Confusion matrix, {role}: {percent(float(right))} on the diagonal")
    for i, j in zip(*np.nonzero(counts), strict=True):
        tip = f"{classes[i]}, said to be {classes[j]}: {counts[i, j]:g} ({percent(shares[i, j])})"
        if i == j:
            picture.cell(i, j, "right", 1, f"{counts[i, j]:.0f}", tip)
        else:
            picture.cell(i, j, role, float(shares[i, j]) / most, f"{counts[i, j]:.0f}", tip)
    return picture


def difference(plain: np.ndarray, se: np.ndarray, classes: Sequence[str]) -> Picture:
    """Counts with SE minus counts without, coloured by which network the change speaks for."""
    change = se - plain
    most = max(float(np.abs(change).max()), 1.0)
    picture = _Matrix(classes, "Confusion with SE minus confusion without, in images")
    for i, j in zip(*np.nonzero(change), strict=True):
        gain = change[i, j] if i == j else -change[i, j]
        text = f"{change[i, j]:+.0f}".replace("-", "−")
        tip = f"{classes[i]}, said to be {classes[j]}: {text} with SE"
        picture.cell(i, j, "se" if gain > 0 else "plain", float(abs(gain)) / most, text, tip)
    return picture


class _Matrix(Picture):
    """A square of cells with the names of the classes on two sides."""

    def __init__(self, classes: Sequence[str], label: str) -> None:
        k = len(classes)
        self.named, self.numbered = k <= 40, k <= 12
        self.margin = min(84.0, 10 + 6.1 * max(map(len, classes))) if self.named else 4.0
        super().__init__(WIDTH, WIDTH, label)
        self.size = (WIDTH - self.margin - 2) / k
        for i, name in enumerate(classes) if self.named else ():
            at, font = self.margin + (i + 0.5) * self.size, min(11.5, self.size)
            short = name if len(name) <= 13 else f"{name[:12]}…"
            self.text(
                self.margin - 6,
                at + 0.35 * font,
                short,
                text_anchor="end",
                class_="tick",
                font_size=font,
            )
            self.text(
                0,
                0,
                short,
                class_="tick",
                font_size=font,
                transform=f"translate({at + 0.35 * font:.1f} {self.margin - 6:.1f}) rotate(-90)",
            )
        self.add(
            "rect",
            x=self.margin,
            y=self.margin,
            width=k * self.size,
            height=k * self.size,
            class_="frame",
        )

    def cell(self, i: int, j: int, kind: str, shade: float, number: str, tip: str) -> None:
        x, y = self.margin + j * self.size, self.margin + i * self.size
        side = self.size - (1.5 if self.numbered else 0)
        self.add(
            "rect",
            x=x,
            y=y,
            width=side,
            height=side,
            class_=f"cell {kind}",
            tip=tip,
            fill_opacity=None if kind == "right" else round(0.06 + 0.94 * min(shade, 1), 3),
        )
        if self.numbered and number not in ("0", "+0", "−0"):
            strong = " strong" if kind != "right" and shade > 0.75 else ""
            self.text(
                x + side / 2,
                y + side / 2 + 4,
                number,
                text_anchor="middle",
                class_=f"number{strong}",
                font_size=min(11.5, self.size * 0.42),
            )
