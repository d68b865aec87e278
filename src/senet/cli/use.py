"""Commands that use a finished training: ``evaluate``, ``predict``, ``embed`` and ``report``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from senet.cli.app import FAILED
from senet.cli.early import require_file, require_trained
from senet.cli.options import BatchSize, DeviceHere, Images, Network, Trained
from senet.cli.results import interval, show_evaluation, show_predictions
from senet.cli.show import progress, say, show, show_json, working, write_result
from senet.paths import expanded


def evaluate(
    model: Trained,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Images other than the run's, of some or all of its classes.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="test (the default), val or train, if there are splits.")
    ] = None,
    network: Network = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 256,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that read images.")] = None,
    device: DeviceHere = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Evaluate a trained network, overall and class by class.

    By default it uses the images that the run kept for testing. It takes all
    images of another folder that has no train, val and test folders. Folders
    of ImageNet's classes may be named by their WordNet ids, such as n01440764.

    Examples:
      senet evaluate runs/photos
      senet evaluate runs/photos --data other_photos --json
      senet evaluate se_resnet50.timm_a1_in1k --data imagenet/val
    """
    found = require_trained(model, network)
    from senet.device import find_device
    from senet.training.evaluate import evaluate

    with working("evaluating"):
        figures = evaluate(
            found,
            data,
            split=split,
            batch_size=batch_size,
            device=find_device(device),
            workers=workers,
            network=network,
        )
    if as_json:
        right = round(figures["accuracy"] * figures["images"])
        show_json({**figures, "accuracy_95": interval(right, figures["images"])})
    else:
        show_evaluation(figures)


class Format(StrEnum):
    """The formats in which predictions are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def predict(
    model: Trained,
    images: Images,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=expanded,
            metavar="FILE",
            help="File to write, in the format of its suffix: .csv, .json or .txt (table).",
        ),
    ] = None,
    format: Annotated[Format | None, typer.Option(help="Output format (table).")] = None,
    network: Network = None,
    top: Annotated[int, typer.Option(min=1, help="Guesses per image.")] = 2,
    batch_size: BatchSize = 32,
    device: DeviceHere = "auto",
) -> None:
    """Classify images with a trained network, and give the probabilities.

    The network is one of your own runs, or one that others have published:
    then no training is needed. `senet weights` lists them.

    An image that cannot be read is listed with the reason; the rest continue.

    Examples:
      senet predict se_resnet50.timm_a1_in1k cat.jpg
      senet predict timm:efficientnet_b0 cat.jpg
      senet predict downloaded.pth --model se_resnet50 cat.jpg
      senet predict runs/photos holiday/ cat.jpg
      senet predict runs/photos 'new/**/*.png' --format csv > classes.csv
      senet predict runs/photos new/ --top 5 --out classes.json
    """
    from senet.serving import formats

    chosen = format.value if format else formats.of_file(out)
    trained = require_trained(model, network)
    if out is not None:
        formats.require_new(out)
    from senet.serving import Predictor, find_images

    everything = find_images(images)
    found = [one for one in everything if not one.skipped]
    _say_skipped([one.file for one in everything if one.skipped])
    predictor = Predictor.load(trained, device, network)
    answers = progress(predictor.predict(found, top, batch_size), "predicting", len(found))
    if out is not None:
        formats.write(out, chosen, answers)
    elif chosen == "table":
        show_predictions(answers)
    else:
        write_result(formats.as_bytes(chosen, answers))
    failed = sum(bool(answer.error) for answer in answers)
    if out is not None:
        show(f"{len(answers) - failed:,} of {len(answers):,} images predicted, written to {out}")
    if failed == len(answers):
        raise typer.Exit(FAILED)


def _say_skipped(files: list[str]) -> None:
    """Warn about files in folders that are not images."""
    if files:
        shown = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
        what = (
            "a file is not an image, and was"
            if len(files) == 1
            else "files are not images, and were"
        )
        count = "" if len(files) == 1 else f"{len(files):,} "
        say("warning", f"{count}{what} skipped: {shown}")


def embed(
    model: Trained,
    images: Images,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=expanded,
            metavar="FILE",
            help="File to write the features to: .parquet, .npz or .csv.",
        ),
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Print the images most like this one.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Images that --like prints.")] = 10,
    network: Network = None,
    batch_size: BatchSize = 32,
    device: DeviceHere = "auto",
) -> None:
    """Turn images into numbers: the features before the classifier.

    Images that look alike have features of a small angle, whatever classes
    the network was trained on.

    Examples:
      senet embed se_resnet50.timm_a1_in1k photos --out features.parquet
      senet embed runs/photos photos --like cat.jpg
    """
    if out is None and like is None:
        raise typer.BadParameter("say what for: --out FILE, --like IMAGE, or both")
    trained = require_trained(model, network)
    if like is not None:
        require_file(like, "image")
    from senet.serving import embed as embedding
    from senet.serving import find_images

    if out is not None:
        embedding.require_writable(out)
    embedder = embedding.Embedder.load(trained, device, network)
    one = embedder.embed([like]) if like is not None else None
    if one is not None and one.errors:
        raise ValueError(f"{like}: {one.errors[like or '']}")
    wanted = [image for image in find_images(images) if not image.skipped]
    with working("looking at images"):
        found = embedder.embed(wanted, batch_size)
    for file, why in found.errors.items():
        say("warning", f"{file}: {why}")
    if not found.files:
        raise typer.Exit(FAILED)
    if out is not None:
        embedding.write(out, found)
        show(f"{len(found.files):,} × {found.features.shape[1]:,} features written to {out}")
    if one is not None:
        for file, cosine in found.like(one.features[0], top):
            show(f"{cosine:.3f}  {file}", "")


def report(
    run: Annotated[
        Path,
        typer.Argument(
            parser=expanded, metavar="RUN", help="A folder of `senet compare` or `senet train`."
        ),
    ],
) -> None:
    """Write report.html into a run folder.

    One page that opens offline: accuracy, curves, costs, mistakes and gates.

    Examples:
      senet report runs/photos
    """
    from senet.runs.read import read

    read(run)  # refuses a folder that is not a run folder
    from senet.analysis import report as analysis

    with working("writing the report"):
        page = analysis.write(run)
    show(str(page))
