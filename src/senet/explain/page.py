"""The page: one HTML file that opens offline, in the language of its reader."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

import senet
from senet.explain import figures, sections
from senet.explain.blocks import histograms
from senet.explain.by_class import farthest, paper_blocks, shown_classes
from senet.explain.messages import LANGUAGES, both, catalogue, text
from senet.figures import gates as drawn
from senet.figures import style

if TYPE_CHECKING:
    from senet.explain.explanation import Explanation


def page(found: Explanation, language: str | None = None, tables: Sequence[str] = ()) -> str:
    """Return the page as HTML.

    Args:
        found: what the page is about.
        language: one of :data:`.LANGUAGES`; by default the browser of the reader decides.
        tables: names of the tables that stand beside the page, which then names its files.

    Raises:
        ValueError: if there is no such language.
    """
    if language not in (*LANGUAGES, None):
        raise ValueError(f"language must be one of {', '.join(LANGUAGES)}, got {language!r}")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("senet.explain"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["svg"] = _svg
    environment.globals.update(t=both, light=style.COLOUR, dark=style.DARK)
    return environment.get_template("page.html.j2").render(
        _contents(found)
        | {"language": language, "first": language or LANGUAGES[0], "tables": tables}
        | {"version": senet.__version__}
    )


def _contents(found: Explanation) -> dict[str, Any]:
    shown = shown_classes(list(found.blocks.values()), drawn.COLOURS)
    known = [one for one in found.facts if one.informed is not None]
    counts, edges = histograms(list(found.blocks.values()))
    first = next(iter(found.blocks.values()))
    assert first.examples is not None
    return {
        "found": found,
        "seen": int((first.images > 0).sum()),
        "titles": {one: text("title", one, name=found.name) for one in LANGUAGES},
        "shown": [(colour, found.classes[k] or both("all")) for colour, k in enumerate(shown)],
        "two": [(shown.index(k), found.classes[k]) for k in _two(found)],
        "figures": draw(found),
        "known": len(known),
        "verdict": _verdict(sum(bool(one.informed) for one in known), len(known)),
        "rows": sections.block_rows(found),
        "ablation": sections.ablation(found),
        "classes": sections.classes(found),
        "pictures": [sections.picture(found, i) for i in range(len(found.pictures))],
        "beside": sections.other(found),
        "drawn": len(first.examples.s),
        "edges": edges.tolist(),
        "histogram": list(zip(found.blocks, counts.tolist(), strict=True)),
    }


def _verdict(informed: int, known: int) -> Markup:
    """Return the sentence on how many blocks tell classes apart."""
    if not known:
        return both("unknown")
    key = {0: "none_informed", known: "all_informed"}.get(informed, "informed")
    return both(key, informed=informed, known=known)


def draw(found: Explanation) -> dict[str, list[tuple[str, Figure]]]:
    """Return the figures of a page, by section, each with the name of its block or empty."""
    blocks = paper_blocks(list(found.blocks.values()))
    shown, two = shown_classes(blocks, drawn.COLOURS), _two(found)
    names = [block.name for block in blocks]
    sections = {"by_class": drawn.by_class(blocks, shown)}
    if len(two) == 2:
        coloured = [(shown.index(k), k) for k in two]
        sections["within"] = drawn.within_classes(blocks, coloured)
    for block, figure in zip(blocks, sections["by_class"], strict=True):
        low, high = (float(v) for v in (block.mean[shown].min(), block.mean[shown].max()))
        values = {"name": block.name, "channels": block.mean.shape[1], "classes": len(shown)}
        figure.set_label(figures.alt("alt_by_class", low=low, high=high, **values))
    for block, figure in zip(blocks, sections.get("within", ()), strict=False):
        values = {"name": block.name, "channels": block.mean.shape[1]}
        figure.set_label(figures.alt("alt_within", **values))
    found_by_name = {k: list(zip(names, own, strict=True)) for k, own in sections.items()}
    counts, edges = histograms(list(found.blocks.values()))
    found_by_name["histogram"] = [("", figures.distribution(list(found.blocks), counts, edges))]
    if any(one.informed is not None for one in found.facts):
        found_by_name["blocks"] = [("", figures.shares(found.facts))]
    if found.worth:
        found_by_name["ablation"] = [
            ("", figures.worth(found.worth, what)) for what in ("accuracy", "loss")
        ]
    if found.likeness is not None:
        found_by_name["similarity"] = [("", figures.similarity(found.likeness, found.classes))]
    for i, picture in enumerate(found.pictures):
        if picture.road is not None:
            found_by_name[f"road-{i}"] = [("", figures.road(picture.road, picture.file))]
    return found_by_name


def _two(found: Explanation) -> list[int]:
    """Return the two classes for the figures within classes, or fewer where there are fewer."""
    blocks = list(found.blocks.values())
    return farthest(blocks[-1], shown_classes(blocks, drawn.COLOURS))


_WORDS = {one["en"]: key for key, one in catalogue().items() if key.startswith("axis_")}


def _svg(figure: Figure) -> Markup:
    """Return a figure whose words are in all languages."""

    def translated(found: re.Match[str]) -> str:
        attributes, words = found.groups()
        if words not in _WORDS:
            return found[0]
        key = _WORDS[words]
        each = (f'<text lang="{one}" {attributes}>{text(key, one)}</text>' for one in LANGUAGES)
        return "".join(each)

    return Markup(re.sub(r"<text ([^>]*)>([^<]*)</text>", translated, str(style.to_svg(figure))))
