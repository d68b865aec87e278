"""Commands that train: ``compare`` and ``train``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from senet.cli import config, early, results
from senet.cli.options import (
    Changed,
    ChangedData,
    Data,
    How,
    Out,
    Preprocessing,
    Resume,
    Seed,
    spread,
)
from senet.cli.show import show, suggest, working
from senet.paths import expanded

if TYPE_CHECKING:
    from senet.runs.folder import RunResult
    from senet.training.compare import Plan


@spread
def compare(
    how: How,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A network with SE; it implies the twin.")
    ] = None,
    data: Data = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Settings for all that is not given: quick (the default: se_resnet8_cifar on "
            "fashion-mnist, 24 epochs), cifar, imagenet, or photos (the default for a folder).",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of times to train each network (1)."),
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(
            metavar="KEY=V1,V2",
            help="Train a network with SE for each of these values of an option. Write a list as "
            "2+3.",
        ),
    ] = None,
    out: Out = None,
    resume: Resume = None,
) -> None:
    """Train a network with SE and its plain twin alike, and report the difference.

    Both see the same images in the same order, with the same augmentation and
    settings, and begin with the same weights wherever both have them. The
    report is report.html, a page that opens offline. Without any options it
    takes a few minutes on bundled images.

    With --vary, it trains one network with SE for each value and compares all
    with the plain one. If the plain network has the option too, such as
    widths, each value gets its own plain twin.

    Examples:
      senet compare
      senet compare --seeds 3
      senet compare --vary reduction=4,8,16 --seeds 3
      senet compare --vary placement=standard,pre,post,identity,3x3
      senet compare --vary se_stages=2,3,2+3
      senet compare --model se_resnet20_cifar --data cifar10 --recipe cifar
      senet compare --resume runs/NAME
    """
    early.require_training("comparison.json", data, recipe, out, resume)
    given = {"model": model, "data": data, **how.fields()}
    base = config.begun(resume, "comparison.json") or config.recipe(recipe, data)
    config.asked(base, how.settings, given)
    if vary:
        config.pairs([vary], "--vary")
    begun = _begun(resume) if resume else None
    chosen = config.configured(begun.config if begun else base, how.settings, given)
    varied = config.vary(vary, chosen) if vary else begun and begun.vary
    count = seeds or (len(begun.seeds) if begun else 1)

    early.require_whole_torchvision()
    from senet.analysis import report
    from senet.training import compare as training

    folder = training.compare(
        chosen,
        resume or out or config.new_folder("compare", chosen),
        range(chosen.seed, chosen.seed + count),
        vary=varied,
        resume=begun is not None,
    )
    what = results.show_comparison(folder)
    with working("writing the report"):
        page = report.write(folder)
    show(f"{what}: {page}", style="bold")


def _begun(resume: Path) -> Plan:
    from senet.training.compare import read_plan

    return read_plan(resume)


@spread
def train(
    how: How,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A network of [bold]senet models[/bold].")
    ] = None,
    data: Data = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Settings to begin with: quick, cifar, imagenet, photos (the default for a "
            "folder), or finetune (the default with --weights).",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="Fine-tune these weights: a run folder, a file, a URL, a repository of the "
            "Hugging Face hub (timm/seresnet50.a1_in1k), or a published set "
            "(se_resnet50.timm_a1_in1k). A file that does not name its network needs --model "
            "too.",
        ),
    ] = None,
    preprocessing: Preprocessing = None,
    seed: Seed = None,
    out: Out = None,
    resume: Resume = None,
    changed_data: ChangedData = None,
) -> None:
    """Train a network on your own images, or on a known data set.

    A folder without train, val and test folders is split into these. The run
    records the split, which is the same the next time.

    With --weights it begins with a probe: every image goes through the network
    once, and a linear classifier is fitted to what comes out. That takes
    seconds to minutes, and is often good enough: --epochs 0 ends there.
    Otherwise all layers are trained from it, and if that ends below the probe
    on validation, or diverges, the probe is kept: the run is finished, with
    exit code 0, and a warning says so.

    Examples:
      senet train --data photos --weights timm/seresnet50.a1_in1k --epochs 0
      senet train --data photos --out runs/photos
      senet train --data photos --weights runs/other
      senet train --data photos --weights timm/seresnet50.a1_in1k
      senet train --data photos --weights w.pth --model resnet50 --preprocessing mean=0.5,std=0.5
      senet train --weights runs/other --set freeze=conv1,layer1,layer2
      senet train --model se_resnet20_cifar --data cifar10 --recipe cifar
      senet train --set mixup=0.2 --set reduction=8
      senet train --resume runs/photos
      senet train --resume runs/photos --data moved/photos
    """
    early.require_training("config.json", data, recipe, out, resume)
    if weights is not None:
        early.require_weights(weights, model)
    if changed_data and not resume:
        raise typer.BadParameter("--changed-data is for a resumed run: add --resume RUN")
    if weights and expanded(weights).exists():
        from senet.runs.find import find_model

        weights = str(find_model(weights))  # of a run folder
    given = {"model": model, "data": data, "weights": weights, "seed": seed, **how.fields()}
    given["preprocessing"] = preprocessing
    begun = config.begun(resume, "config.json")
    base = begun or config.recipe(recipe, data, weights)
    config.asked(base, how.settings, given)
    if weights and not begun:
        base = config.of_weights(base, weights, model)
    chosen = config.configured(base, how.settings, given)

    early.require_whole_torchvision()
    from senet.training.fit import fit

    folder = resume or out or config.new_folder(chosen.model, chosen)
    changed = changed_data is Changed.OK
    result = fit(chosen, folder, resume=resume is not None, changed_data=changed)
    _show_result(folder, result)


def _show_result(folder: Path, result: RunResult) -> None:
    right = round(result.test_accuracy * result.test_images)
    show(f"\ntest accuracy {results.accuracy(right, result.test_images)}", style="bold")
    if result.epochs and result.kept != "last":
        which = {"probe": "the probe", "best": f"epoch {result.best_epoch}"}[result.kept]
        show(f"of the weights of {which}" + ", since the training diverged" * bool(result.diverged))
    if result.balanced_accuracy is not None:
        share = results.percent(result.balanced_accuracy)
        show(f"balanced accuracy {share} %, each class counted alike")
    show(f"run folder {folder}", "")
    run = shlex.quote(str(folder))
    suggest(
        (f"senet evaluate {run}", "the accuracy on each class"),
        (f"senet predict {run} IMAGE...", "the classes of other images"),
        (f"senet report {run}", "a page with curves, mistakes and gates"),
    )
