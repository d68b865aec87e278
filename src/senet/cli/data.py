"""The command ``data``: a look at images before anybody trains on them."""

from __future__ import annotations

import shlex
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from senet.cli.app import FAILED
from senet.cli.early import require_data
from senet.cli.options import where
from senet.cli.progress import watched
from senet.cli.show import Cell, name, number, say, show, show_details, show_json, show_table
from senet.counted import counted

if TYPE_CHECKING:
    from senet.survey import Survey
    from senet.survey.survey import Alike

SHOWN = 5
"""Groups of duplicates that are printed; the page has more, and the JSON all."""


def data(
    images: Annotated[
        str, typer.Argument(metavar="DATA", help="Images, as [bold]senet train --data[/bold].")
    ],
    out: Annotated[
        Path | None, where("Page to write (data-NAME.html; none with --json).", "FILE.html")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Look at images before training on them.

    Images of each class, and the splits that `senet train` would make of them;
    whether classes are very unequal; sizes and formats; files that cannot be
    read; the same image twice, also across train and test (where it makes figures
    too good) or in two classes; and images that are nearly alike. The page shows
    some of every class.

    The exit code is 1 if files are left out, or if the same image is in two
    splits or in two classes.

    Examples:
      senet data photos
      senet data photos --out look.html
      senet data photos --json > photos.json
      senet data photos && senet train --data photos
    """
    require_data(images)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        from senet.data import open_source

        source = open_source(images)
    said = [str(note.message) for note in notes if note.category is UserWarning]
    for note in said:
        say("warning", note)
    from senet.survey import require_ours, survey, write

    page = out or (None if as_json else Path(f"data-{source.name.replace('/', '-')}.html"))
    if page is not None:
        require_ours(page)
    found = survey(source, partial(watched, description="looking at images"))
    if page is not None:
        write(page, found, said)
    if as_json:
        show_json({**found.to_dict(), "notes": said, "page": str(page) if page else None})
    else:
        _show(found)
        show(str(page), "")
        show(f"senet train --data {shlex.quote(images)}", style="dim")
    if found.to_mend:
        raise typer.Exit(FAILED)


def _show(found: Survey) -> None:
    """Print what was found, the classes first."""
    source, counts = found.source, found.counts
    classes = counted(len(source.classes), "class", "classes")
    title = f"{source.name}: {counted(len(found.images), 'image')} of {classes}"
    parts = [part for part, own in counts.items() if own.sum()]
    columns = [name("class"), *(number(part, drop=1) for part in parts), number("all")]
    rows: list[list[Cell]] = [
        [
            one,
            *(f"{counts[part][k]:,}" for part in parts),
            f"{sum(c[k] for c in counts.values()):,}",
        ]
        for k, one in enumerate(source.classes)
    ]
    rows.append(["all", *(f"{counts[p].sum():,}" for p in parts), f"{len(found.images):,}"])
    show_table(columns, rows, title)
    show("")
    show_details(_facts(found))
    show("")
    _show_groups(found, found.copies, "the same")
    _show_groups(found, found.alike, "nearly alike")


def _facts(found: Survey) -> list[tuple[str, Cell]]:
    sizes = ", ".join(f"{word} {w:,} × {h:,}" for word, (w, h) in found.sizes.items())
    several, clear = len(found.of_several_frames), len(found.transparent)
    return [
        ("unequal classes", found.unequal),
        ("sizes", sizes),
        ("formats", ", ".join(f"{word} {count:,}" for word, count in found.formats.items())),
        ("several pages", f"{counted(several, 'file')}, the first page is used" if several else ""),
        ("transparent", f"{counted(clear, 'file')}, laid on white" if clear else ""),
        ("left out", counted(len(found.left_out), "file") if found.left_out else "no file"),
        ("the same image", _groups(found.copies, "group")),
        ("nearly alike", _groups(found.alike, "pair")),
    ]


def _groups(groups: tuple[Alike, ...], what: str) -> str:
    if not groups:
        return "none"
    across = sum(one.across for one in groups)
    contradicting = sum(one.contradicting for one in groups)
    return (
        f"{counted(len(groups), what)}; {across:,} of them in several splits,"
        f" {contradicting:,} in several classes"
    )


def _show_groups(found: Survey, groups: tuple[Alike, ...], what: str) -> None:
    """Print the groups that spoil figures, the worst first."""
    bad = [one for one in groups if one.across or one.contradicting]
    classes = found.source.classes
    for one in bad[:SHOWN]:
        words = [f"{i.name} ({classes[i.label]}, {i.split})" for i in one.images[:3]]
        more = f" and {len(one.images) - 3:,} more" if len(one.images) > 3 else ""
        show(f"{what}: {' and '.join(words)}{more}")
    if len(bad) > SHOWN:
        show(f"{what}: {len(bad) - SHOWN:,} more, on the page")
    if bad:
        show("")
