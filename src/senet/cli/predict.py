"""The command ``predict``: images in, classes out, in many forms."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from senet.cli.app import FAILED
from senet.cli.early import require_preprocessing, require_trained
from senet.cli.options import BatchSize, DeviceHere, Network, Preprocessing, Trained
from senet.cli.progress import watched
from senet.cli.results import say_asked, show_predictions
from senet.cli.show import say, show, write_result
from senet.counted import counted
from senet.paths import expanded

if TYPE_CHECKING:
    from senet.serving import Prediction
    from senet.serving.find import Found


class Format(StrEnum):
    """The formats in which predictions are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


def predict(
    model: Trained,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Files, folders (with subfolders), zip and tar files, patterns, http and https "
            "addresses; a table of files (labels.csv, or labels.csv:file=COLUMN); - for a list of "
            "these on standard input, one a line.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=expanded,
            metavar="FILE",
            help="File to write, in the format of its suffix: .csv, .json, .jsonl or .txt (table).",
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(help="Output format (table). jsonl prints a line for each image at once."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            parser=expanded,
            metavar="FILE",
            help="Also write a contact sheet: a page of small images by class, the least certain "
            "first, that opens offline.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Probability below which an image is marked as unsure."),
    ] = None,
    sort_into: Annotated[
        Path | None,
        typer.Option(
            parser=expanded,
            metavar="DIR",
            help="Copy each image into the folder of its class in DIR. Nothing is moved or "
            "replaced; repeat the command to go on after an interruption.",
        ),
    ] = None,
    links: Annotated[
        bool,
        typer.Option(
            "--links",
            help="With --sort-into: symbolic links, not copies, except of archives and the web.",
        ),
    ] = False,
    network: Network = None,
    preprocessing: Preprocessing = None,
    top: Annotated[int, typer.Option(min=1, help="Guesses per image.")] = 2,
    batch_size: BatchSize = 32,
    device: DeviceHere = "auto",
) -> None:
    """Classify images with a trained network, and give the probabilities.

    The network is one of your own runs, or one that others have published:
    then no training is needed. `senet weights` lists them.

    An image that cannot be read is listed with the reason; the rest continue.
    If a table has a column of labels, they are shown beside the predictions.

    Examples:
      senet predict se_resnet50.timm_a1_in1k cat.jpg https://example.org/dog.jpg
      senet predict timm:efficientnet_b0 cat.jpg
      senet predict downloaded.pth --model se_resnet50 cat.jpg
      senet predict runs/photos holiday/ cat.jpg
      senet predict runs/photos new/ --threshold 0.8 --html sheet.html
      senet predict runs/photos new/ --threshold 0.8 --sort-into sorted
      senet predict runs/photos 'new/**/*.png' --format csv > classes.csv
      senet predict runs/photos labels.csv:file=photo,label=species
      senet predict runs/photos new/ --top 5 --out classes.json
      find . -name '*.jpg' | senet predict runs/photos - --format jsonl | jq .class
    """
    from senet.serving import formats

    if links and sort_into is None:
        raise typer.BadParameter("--links is for --sort-into DIR")
    require_preprocessing(preprocessing)
    chosen = format.value if format else formats.of_file(out)
    trained = require_trained(model, network)
    for file in (out, html):
        if file is not None:
            formats.require_new(file)
    found, total = _wanted(images)
    from senet.serving import Predictor
    from senet.serving.predict import as_labelled
    from senet.serving.sheet import Sheet
    from senet.serving.sort import Sorter

    predictor = Predictor.load(trained, device, network, preprocessing)
    if preprocessing is not None:
        say_asked(asdict(predictor.record.preprocessing))
    sheet = Sheet(f"What {model} sees") if html else None
    sorter = Sorter(sort_into, predictor.record.classes, links) if sort_into else None
    streamed = chosen == "jsonl" and out is None
    takers: list[Callable[[Prediction], object]] = []
    takers += [sorter.add] if sorter else []
    takers += [sheet.add] if sheet else []
    takers += [_print_line] if streamed else []
    answers: list[Prediction] = []
    silent = streamed and sys.stdout.isatty()  # the lines themselves show the progress
    stopped: KeyboardInterrupt | None = None
    try:
        predictions = predictor.predict(found, top, batch_size, threshold)
        for answer in watched(predictions, total, "predicting", silent=silent):
            for take in takers:
                take(answer)
            answers.append(replace(answer, content=None))
    except KeyboardInterrupt as stop:
        if not answers:  # files without a prediction would only be in the way of the next try
            raise
        stopped = stop
    if out is not None:
        formats.write(out, chosen, answers)
    elif chosen == "table":
        show_predictions(answers)
    elif not streamed:
        write_result(formats.as_bytes(chosen, answers))
    if sheet and html:
        sheet.write(html)
    failed = sum(bool(answer.error) for answer in answers)
    wanted = len(answers) if total is None else total
    done = f"{len(answers) - failed:,} of {counted(wanted, 'image')} predicted"
    places = [str(file) for file in (out, html) if file is not None]
    if places:
        _tell(chosen, out, f"{done}, written to {' and '.join(places)}")
    right, compared = as_labelled(answers, predictor.record.classes)
    if compared:
        _tell(chosen, out, f"{right:,} of {counted(compared, 'image')} as labelled")
    if sorter:
        were = "was" if sorter.there == 1 else "were"
        already = f", {sorter.there:,} {were} there already" if sorter.there else ""
        linked, copied = sorter.linked, sorter.put - sorter.linked
        put = f"{counted(copied, 'image')} copied"
        if links:
            put = f"{counted(linked, 'image')} linked" + f" and {copied:,} copied" * bool(copied)
        _tell(chosen, out, f"{put} into {sort_into}{already}")
    if stopped:
        first = f"For all, delete {' and '.join(places)}, and repeat" if places else "Repeat"
        after = "." if places else " for all."
        raise KeyboardInterrupt(f"Stopped: {done}. {first} the command{after}") from stopped
    if failed == len(answers):
        raise typer.Exit(FAILED)


def _wanted(names: Sequence[str]) -> tuple[Iterable[Found | None], int | None]:
    """Return the images to predict and their number, ``None`` if a list may still grow."""
    from senet.serving.find import STDIN, find_images, images_as_they_come

    if STDIN in names:
        return (one for one in images_as_they_come(names) if not (one and one.skipped)), None
    everything = find_images(names)
    say_skipped([one.file for one in everything if one.skipped])
    found = [one for one in everything if not one.skipped]
    return found, len(found)


def _print_line(answer: Prediction) -> None:
    from senet.serving import formats

    write_result(formats.as_json_line(answer).encode("utf-8", "backslashreplace"))


def _tell(chosen: str, out: Path | None, line: str) -> None:
    """Print a line: on standard error where standard output is for programs."""
    if out is None and chosen != "table":
        say("", line)
    else:
        show(line)


def say_skipped(files: list[str]) -> None:
    """Warn about files in folders that are not images."""
    if files:
        from senet.cache import name_of

        shown = ", ".join(map(name_of, files[:3])) + (", ..." if len(files) > 3 else "")
        what = (
            "a file is not an image, and was"
            if len(files) == 1
            else "files are not images, and were"
        )
        count = "" if len(files) == 1 else f"{len(files):,} "
        say("warning", f"{count}{what} skipped: {shown}")
