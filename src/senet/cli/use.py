"""Commands that use a finished training: ``evaluate``, ``embed`` and ``report``."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from senet.cli.app import FAILED
from senet.cli.early import require_file, require_preprocessing, require_trained
from senet.cli.options import BatchSize, DeviceHere, Images, Network, Preprocessing, Trained
from senet.cli.results import interval, say_asked, show_evaluation
from senet.cli.show import say, show, show_json, working
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
    preprocessing: Preprocessing = None,
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
    require_preprocessing(preprocessing)
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
            preprocessing=preprocessing,
        )
    if preprocessing is not None:
        say_asked(figures["preprocessing"])
    if as_json:
        right = round(figures["accuracy"] * figures["images"])
        show_json({**figures, "accuracy_95": interval(right, figures["images"])})
    else:
        show_evaluation(figures)


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
    html: Annotated[
        Path | None,
        typer.Option(
            parser=expanded, metavar="FILE", help="Contact sheet of what --like finds, as HTML."
        ),
    ] = None,
    network: Network = None,
    preprocessing: Preprocessing = None,
    batch_size: BatchSize = 32,
    device: DeviceHere = "auto",
) -> None:
    """Turn images into numbers: the features before the classifier.

    Images that look alike have features of a small angle, whatever classes
    the network was trained on.

    Examples:
      senet embed se_resnet50.timm_a1_in1k photos --out features.parquet
      senet embed runs/photos photos --like cat.jpg --html like.html
    """
    if out is None and like is None:
        raise typer.BadParameter("say what for: --out FILE, --like IMAGE, or both")
    if html is not None:
        if like is None:
            raise typer.BadParameter("--html shows what --like finds: add --like IMAGE")
        from senet.serving.formats import require_new

        require_new(html)
    require_preprocessing(preprocessing)
    trained = require_trained(model, network)
    if like is not None:
        require_file(like, "image")
    from senet.cache import name_of
    from senet.serving import embed as embedding
    from senet.serving import find_images

    if out is not None:
        embedding.require_writable(out)
    embedder = embedding.Embedder.load(trained, device, network, preprocessing)
    if preprocessing is not None:
        say_asked(asdict(embedder.record.preprocessing))
    one = embedder.embed([like]) if like is not None else None
    if one is not None and one.errors:
        raise ValueError(f"{like}: {one.errors[like or '']}")
    wanted = [image for image in find_images(images) if not image.skipped]
    with working("looking at images"):
        found = embedder.embed(wanted, batch_size)
    for file, why in found.errors.items():
        say("warning", f"{name_of(file)}: {why}")
    if not found.files:
        raise typer.Exit(FAILED)
    if out is not None:
        embedding.write(out, found)
        show(f"{len(found.files):,} × {found.features.shape[1]:,} features written to {out}")
    if one is not None:
        nearest = found.like(one.features[0], top)
        for file, cosine in nearest:
            show(f"{cosine:.3f}  {name_of(file)}")
        if html is not None and like is not None:
            from senet.files import write_text
            from senet.serving import sheet

            write_text(html, sheet.like(like, nearest))
            show(f"contact sheet written to {html}")


def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A folder of `senet compare` or `senet train`. With --data also a model file or "
            "published weights, as `senet evaluate` takes them.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Report what the network says about these images, of some or all of its classes.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="With --data: test (the default), val or train, if there.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=expanded, metavar="FILE", help="With --data: file to write (a new one here)."
        ),
    ] = None,
    network: Network = None,
    preprocessing: Preprocessing = None,
    device: DeviceHere = "auto",
) -> None:
    """Write a report: one page that opens offline.

    Of a run, report.html in its folder: accuracy, curves, costs, mistakes and
    gates. With --data, of any trained network on these images: accuracy, classes,
    mistakes and gates.

    Examples:
      senet report runs/photos
      senet report se_resnet50.timm_a1_in1k --data imagenet/val
      senet report w.pth --model se_resnet50 --data photos --out report.html
    """
    if data is not None:
        show(str(_report_on(run, data, split, out, network, preprocessing, device)))
        return
    for given, option in (
        (split, "--split"),
        (out, "--out"),
        (network, "--model"),
        (preprocessing, "--preprocessing"),
    ):
        if given is not None:
            raise typer.BadParameter(f"{option} is for a report on other images: add --data")
    if not expanded(run).is_dir():
        require_trained(run, network)  # or it is nothing at all
        raise ValueError(
            f"{run} has no images of its own to report on: name images with their labels, --data"
        )
    from senet.runs.read import read

    read(expanded(run))  # refuses a folder that is not a run folder
    from senet.analysis import report as analysis

    with working("writing the report"):
        page = analysis.write(expanded(run))
    show(str(page))


def _report_on(
    word: str,
    data: str,
    split: str | None,
    out: Path | None,
    network: str | None,
    preprocessing: str | None,
    device: str,
) -> Path:
    """Write the report of a trained network on images that are not its run's."""
    require_preprocessing(preprocessing)
    found = require_trained(word, network)
    out = out or Path(re.sub(r"[^\w.-]+", "-", f"{word}-on-{data}").strip("-.") + ".html")
    from senet.serving.formats import require_new

    require_new(out)
    from senet.analysis import report as analysis
    from senet.analysis.evaluation import Evaluation
    from senet.runs.predictions import Predictions
    from senet.runs.scored import open_scored
    from senet.training.evaluate import predict_split

    with working("evaluating"):
        model, record, scored = open_scored(
            found, data, split, network=network, preprocessing=preprocessing
        )
        labels, logits = predict_split(model, scored.images, record.preprocessing, device=device)
    if len(labels) < len(scored.images):
        raise ValueError(f"some images of {data} cannot be read: take them out first")
    given = (("--split", split), ("--model", network), ("--preprocessing", preprocessing))
    pieces = [f"senet report {shlex.quote(word)}", f"--data {shlex.quote(data)}"]
    pieces += [f"{option} {shlex.quote(value)}" for option, value in given if value]
    answers = Predictions(labels, logits)
    evaluation = Evaluation(word, model.cpu(), record, data, scored.images, answers, pieces)
    with working("writing the report"):
        return analysis.write_evaluation(out, evaluation)
