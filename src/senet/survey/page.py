"""The page: a contact sheet of every class, and duplicates side by side, in one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

import senet
from senet import files
from senet.counted import counted
from senet.data import ImageError
from senet.figures import style
from senet.figures.thumbnail import thumbnail
from senet.survey.survey import SPLITS, Alike, Seen, Survey

EACH = 8
"""Images of a class on the contact sheet, while all classes together have at most ``SHEET``."""
SHEET = 800
GROUPS = 60
"""Groups of copies, and pairs that are nearly alike, that are shown."""
COPIES = 6
"""Images of a group of copies that are shown."""
MARK = '<meta name="generator" content="senet data'


def require_ours(path: Path) -> None:
    """Refuse to replace a file that is not an earlier page of this kind.

    Raises:
        FileExistsError: if it is another file.
        FileNotFoundError: if its folder does not exist.
        OSError: if it cannot be written there.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    if path.exists() and not (path.is_file() and MARK.encode() in path.read_bytes()[:2000]):
        raise FileExistsError(f"{path} already exists, and is no page of senet: name another file")
    files.require_writable(path)


def write(path: Path, found: Survey, notes: Sequence[str] = ()) -> None:
    """Write the page, whole or not at all. ``notes`` are said when the images are opened."""
    require_ours(path)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("senet.survey"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(light=style.COLOUR, dark=style.DARK, mark=MARK, counted=counted)
    html = environment.get_template("page.html.j2").render(_contents(found), notes=notes)
    files.write_text(path, html)


def _contents(found: Survey) -> dict[str, Any]:
    classes = found.source.classes
    each = max(1, min(EACH, SHEET // len(classes)))
    totals = np.sum(list(found.counts.values()), axis=0)
    by_class: list[list[Seen]] = [[] for _ in classes]
    for one in found.images:
        by_class[one.label].append(one)
    return {
        "version": senet.__version__,
        "found": found,
        "name": found.source.name,
        "splits": [part for part in SPLITS if found.counts[part].sum()],
        "sheet": [
            {
                "name": name,
                "counts": {part: int(own[k]) for part, own in found.counts.items()},
                "total": int(totals[k]),
                "share": float(100 * totals[k] / totals.max()),
                "images": [_shown(found, one) for one in _spread(by_class[k], each)],
            }
            for k, name in enumerate(classes)
        ],
        "copies": [_group(found, one) for one in found.copies[:GROUPS]],
        "alike": [_group(found, one) for one in found.alike[:GROUPS]],
    }


def _spread(images: Sequence[Seen], most: int) -> list[Seen]:
    """Return at most so many images, evenly spaced."""
    places = np.linspace(0, len(images) - 1, min(most, len(images))).astype(int)
    return [images[i] for i in places]


def _group(found: Survey, one: Alike) -> dict[str, Any]:
    words = [f"{one.likeness:.3f}"] if one.likeness is not None else []
    words += ["in several classes"] * one.contradicting
    words += ["in " + " and ".join(sorted({i.split for i in one.images}))] * one.across
    return {
        "words": ", ".join(words),
        "bad": one.across or one.contradicting,
        "images": [_shown(found, image) for image in one.images[:COPIES]],
        "more": max(0, len(one.images) - COPIES),
    }


def _shown(found: Survey, one: Seen) -> dict[str, Any]:
    split = getattr(found.source, one.split)
    try:
        uri, small = thumbnail(split.picture(one.index).pixels(96, 96).permute(1, 2, 0).numpy())
    except ImageError:  # it could be read a minute ago
        uri, small = "data:,", False
    return {
        "uri": uri,
        "small": small,
        "name": one.name,
        "split": one.split,
        "label": found.source.classes[one.label],
        "size": f"{one.width} × {one.height}",
    }
