"""The command ``explain``: what SE does in a network, as a page."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from senet.cli.options import DeviceHere, where
from senet.cli.progress import watched
from senet.cli.show import Column, number, show, show_table
from senet.paths import expanded

if TYPE_CHECKING:
    from senet.explain import BlockFacts


class Language(StrEnum):
    """The languages of the page."""

    AUTO = "auto"
    ENGLISH = "en"
    CHINESE = "zh-TW"


def explain(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_WEIGHTS",
            help="A run folder, a model.safetensors file, published weights (`senet weights`, "
            "timm:NAME), or a network with random weights: one of `senet models`, "
            "torchvision:NAME.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Images to record, if not the run's: see `train`."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="test (the default), val or train, if there are splits.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Most images to record, drawn at random.")
    ] = 2000,
    ablate: Annotated[
        int,
        typer.Option(min=0, help="Most images to run again with gates replaced; 0: none."),
    ] = 200,
    image: Annotated[
        list[Path] | None,
        typer.Option(parser=expanded, metavar="FILE", help="An image to look at; may be repeated."),
    ] = None,
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_OR_WEIGHTS",
            help="A second network, on the same images: one with SE, or a plain twin.",
        ),
    ] = None,
    out: Annotated[
        Path | None, where("Folder to write (a new one in explained/).", "FOLDER")
    ] = None,
    language: Annotated[
        Language, typer.Option(help="Language of the page; auto: of the reader's browser.")
    ] = Language.AUTO,
    device: DeviceHere = "auto",
) -> None:
    """Show what SE does in a network: a page, figures and tables of its gates.

    Mean gates by class (Figures 6 and 7 of the paper), which blocks tell classes
    apart better than chance, saturation, what the network loses with gates
    replaced, which classes are alike, and what happens to single images.
    Ctrl-C ends the work early, and the page shows what was done. torchrun shares
    the images among processes.

    Examples:
      senet explain runs/photos
      senet explain runs/photos --image cat.jpg --image dog.jpg --out cats
      senet explain runs/tuned --beside runs/photos
      torchrun --nproc-per-node 2 -m senet explain runs/photos
      senet explain timm:seresnet50 --data photos --language zh-TW
    """
    folder = out or Path("explained") / model.strip("/.").replace("/", "-").replace(":", "-")
    from senet.explain.run import explain

    found, page = explain(
        model,
        data,
        image or [],
        out=folder,
        split=split,
        limit=limit,
        ablated=ablate,
        beside=beside,
        language=None if language == Language.AUTO else language.value,
        device=device,
        watch=partial(watched, unit=""),
    )
    if page is not None:  # one of several processes writes it
        _show(found.facts)
        show("", str(page))


def _show(facts: Iterable[BlockFacts]) -> None:
    """Print the table of the blocks."""
    says = {True: "better than chance", False: "no more than chance", None: "cannot be said"}
    columns = [
        Column("block"),
        number("channels", drop=4),
        number("mean"),
        number("variation", drop=3),
        number("open", drop=2),
        number("closed", drop=2),
        number("by class"),
        number("shuffled", drop=1),
        Column("tells classes apart"),
    ]
    rows = [
        [
            one.name,
            f"{one.channels:,}",
            f"{one.mean:.2f}",
            f"{one.variation:.3f}",
            *map(_percent, (one.open, one.closed, one.drawn, one.level)),
            says[one.informed],
        ]
        for one in facts
    ]
    show_table(columns, rows)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
