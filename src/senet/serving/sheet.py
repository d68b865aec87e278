"""Contact sheets of predictions, or of the images like one: HTML with small copies of images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

import senet
from senet import files
from senet.cache import name_of
from senet.counted import counted
from senet.data import ImageError, decode
from senet.figures import style
from senet.figures.thumbnail import SIDE, thumbnail
from senet.serving.formats import percent
from senet.serving.predict import Prediction

MOST = 2000
"""Images on a sheet: of more, the page counts those that it does not show."""


@dataclass
class Sheet:
    """A contact sheet that grows by one prediction after the other.

    Attributes:
        title: what made the predictions.
        most: the images that it shows.
        count: how many predictions there were.
    """

    title: str
    most: int = MOST
    count: int = 0
    _cells: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _failed: list[Prediction] = field(default_factory=list)
    _shown: int = 0

    def add(self, prediction: Prediction) -> None:
        """Take a prediction, and a small copy of its image."""
        self.count += 1
        if not prediction.guesses:
            self._failed.append(prediction)
            return
        name, probability = prediction.guesses[0]
        shown = self._shown < self.most
        self._shown += shown
        content = prediction.file if prediction.content is None else prediction.content
        uri, small = _small_copy(content) if shown else ("", False)
        cell = {
            "file": prediction.name,
            "uri": uri,
            "small": small,
            "name": name,
            "probability": probability,
            "percent": _unbroken(probability),
            "next": [f"{other} {_unbroken(p)}" for other, p in prediction.guesses[1:]],
            "label": prediction.label if prediction.label != name else "",
        }
        self._cells.setdefault("" if prediction.unsure else name, []).append(cell)

    def html(self) -> str:
        """Return the page: unsure images first, then class by class, the least certain first."""
        groups = [
            (name, sorted(cells, key=lambda cell: cell["probability"]))
            for name, cells in sorted(self._cells.items())
        ]
        left_out = self.count - len(self._failed) - self._shown
        lead = f"{counted(self.count, 'image')}. In each class the least certain come first."
        if left_out:
            lead += f" {left_out:,} of them are named without a picture, to keep this file small."
        return _page(self.title, lead, groups, self._failed)

    def write(self, path: Path) -> None:
        """Write the page, whole or not at all."""
        text = self.html().encode("utf-8", "backslashreplace")
        files.write_bytes(path, text)


def like(image: str, found: Sequence[tuple[str, float]]) -> str:
    """Return a page with an image, and those like it.

    Args:
        image: its file.
        found: other files with the cosines of their features, as of
            :meth:`~senet.serving.embed.Embedded.like`.
    """
    cells = [_like(file, f"{cosine:.3f}") for file, cosine in found]
    groups = [("this image", [_like(image, "")]), ("most like it", cells)]
    lead = f"{counted(len(cells), 'image')}, the most alike first, by the cosine of their features."
    return _page(f"Like {image}", lead, groups)


def _like(file: str, cosine: str) -> dict[str, Any]:
    uri, small = _small_copy(file)
    return {
        "file": name_of(file),
        "uri": uri,
        "small": small,
        "percent": cosine,
        "next": (),
        "label": "",
    }


def _page(
    title: str, lead: str, groups: Sequence[tuple[str, Any]], failed: Sequence[Prediction] = ()
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("senet.serving"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("sheet.html.j2").render(
        title=title,
        lead=lead,
        groups=groups,
        failed=failed,
        light=style.COLOUR,
        dark=style.DARK,
        version=senet.__version__,
        written=time.strftime("%Y-%m-%d"),
    )


def _unbroken(share: float) -> str:
    return percent(share).replace(" ", "\u202f")


def _small_copy(content: str | bytes) -> tuple[str, bool]:
    """Return the image as a small data URI; empty if it has vanished meanwhile."""
    try:
        pixels = decode(content, min_height=SIDE, min_width=SIDE)
    except ImageError:
        return "", False
    return thumbnail(pixels.permute(1, 2, 0).numpy())
