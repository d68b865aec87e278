"""The command line: parses, calls, prints.

What a command needs is imported when the command runs, so that ``senet --help`` waits for nothing.
"""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup

from senet.near import near
from senet.paths import expanded, is_place, no_folder
from senet.settings import pairs, value

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from senet.analysis.subject import Subject
    from senet.doctor import Check
    from senet.graph.report import Report
    from senet.training.config import TrainConfig
    from senet.training.variants import Vary

FAILED = 1
INTERRUPTED = 130


class Commands(TyperGroup):
    """Shows what the library raises as one message, and ends with the right exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            _say("", str(stop) or "Interrupted.")
            raise typer.Exit(getattr(stop, "exit_code", INTERRUPTED)) from None
        except BrokenPipeError:  # somebody reads no further, as `head` does
            raise
        except (ValueError, OSError, ArithmeticError, ImportError) as error:
            if ctx.params.get("debug"):
                raise
            _say("error", _message(error))
            raise typer.Exit(FAILED) from None


def _message(error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"{error}. `senet doctor` says what is missing"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _say(what: str, message: str) -> None:
    """On standard error, not wrapped: paths and commands in a message stay whole."""
    from rich.console import Console
    from rich.text import Text

    style = "bold yellow" if what == "warning" else "bold red"
    text = Text.assemble((what and f"{what}: ", style), message)
    Console(stderr=True).print(text, soft_wrap=True)


app = typer.Typer(
    name="senet",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MAIN, LOOK = "Train and use networks", "Look at networks and at this machine"
OPERATE = "Operate on other networks"


def _version(asked: bool) -> None:
    if asked:
        from senet import __version__

        typer.echo(f"senet {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", envvar="SENET_DEBUG", help="Show where in the code an error arose."
        ),
    ] = False,
) -> None:
    """Squeeze-and-excitation networks: train them, compare them with their plain twins, use them.

    [bold]The same network with and without SE, on bundled images, in a few minutes:[/bold]

      senet compare

    [bold]Your own photos, in one folder for each class:[/bold]

      senet train --data photos --out runs/photos
      senet evaluate runs/photos
      senet predict runs/photos new/*.jpg
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without × or … shows ? instead of failing
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    _say("warning", str(message))


class Changed(StrEnum):
    """What is to be done about images that have changed."""

    OK = "ok"


# --- options that several commands have -----------------------------------------------------------

HOW = "How to train"
WHERE = "Where to"


def _how(help: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=HOW, help=help, **more)


Data = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="A folder with one folder of images for each class (or with train, val and test "
        "folders of those), fashion-mnist (bundled), cifar10, cifar100, or a data set of the "
        "Hugging Face hub.",
    ),
]
Epochs = Annotated[int | None, _how("Passes over the images.")]
BatchSize = Annotated[int | None, _how("Images a step.")]
LearningRate = Annotated[float | None, _how("Highest learning rate of the schedule.", "--lr")]
Limit = Annotated[int | None, _how("At most so many images, for a try.")]
Workers = Annotated[int | None, _how("Processes that read images.")]
Precision = Annotated[str | None, _how("32, bf16-mixed, or on a GPU 16-mixed.")]
Device = Annotated[str | None, _how("auto, cpu, cuda or mps.")]
Settings = Annotated[
    list[str] | None,
    _how(
        "Any other setting of the training, or option of the network. May be repeated.",
        "--set",
        metavar="KEY=VALUE",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        parser=expanded,
        metavar="FOLDER",
        rich_help_panel=WHERE,
        help="Folder to write (a new one in runs/).",
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        parser=expanded,
        rich_help_panel=WHERE,
        metavar="RUN",
        help="Go on with what was interrupted. With --data, its images are there now.",
    ),
]
ChangedData = Annotated[
    Changed | None,
    typer.Option(
        rich_help_panel=WHERE,
        help="ok: resume also where images of the run are missing or have changed.",
    ),
]
# Of commands that use a trained network.
Run = Annotated[
    str, typer.Argument(metavar="RUN", help="The folder of a run, or a model.safetensors.")
]
MODEL_FILE = "run folder or model file"
DeviceHere = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]


# --- train and use --------------------------------------------------------------------------------


@app.command(rich_help_panel=MAIN)
def compare(
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A network with SE; its twin is known.")
    ] = None,
    data: Data = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Settings to begin with: quick, cifar or imagenet."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Train each so many times (1).")
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(
            metavar="KEY=V1,V2",
            help="Train a network with SE for each of these values of one of its options. A value "
            "that is a list is written 2+3.",
        ),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    limit: Limit = None,
    workers: Workers = None,
    precision: Precision = None,
    device: Device = None,
    settings: Settings = None,
    out: Out = None,
    resume: Resume = None,
) -> None:
    """Train a network with SE and its plain twin alike; report the difference.

    Same images in the same order, same augmentation, same settings, and the same
    initial weights wherever both have them. Writes report.html, a page that opens
    offline. Without any options: on bundled images, in a few minutes. With --vary,
    one network with SE for each value, all held against the plain one; an option
    that the plain network has too, such as widths, has a plain twin for each value.

    Examples:
      senet compare
      senet compare --seeds 3
      senet compare --vary reduction=4,8,16 --seeds 3
      senet compare --vary placement=standard,pre,post,identity,3x3
      senet compare --vary se_stages=2,3,2+3
      senet compare --model se_resnet20_cifar --data cifar10 --recipe cifar
      senet compare --resume runs/NAME
    """
    _require_training("comparison.json", data, recipe, out, resume)
    from senet.analysis import report
    from senet.training import compare as training

    begun = training.read_plan(resume) if resume else None
    config = _configured(
        begun.config if begun else _recipe(recipe),
        settings,
        model=model,
        data=data,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        limit=limit,
        workers=workers,
        precision=precision,
        device=device,
    )
    count = seeds or (len(begun.seeds) if begun else 1)
    folder = training.compare(
        config,
        resume or out or _new_folder("compare", config),
        range(config.seed, config.seed + count),
        vary=_vary(vary, config) if vary else begun and begun.vary,
        resume=begun is not None,
    )
    what = _show_comparison(folder)
    with _working("writing the report"):
        page = report.write(folder)
    _print(f"{what}: {page}", style="bold")


@app.command(rich_help_panel=MAIN)
def train(
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A network of [bold]senet models[/bold].")
    ] = None,
    data: Data = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Settings to begin with: quick, cifar, imagenet, photos (a folder's), or "
            "finetune (what weights are given for).",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="Fine-tune: begin with these weights: a run folder, a file, a URL, a repository "
            "of the Hugging Face hub (timm/seresnet50.a1_in1k), or a published set "
            "(se_resnet50.timm_a1_in1k). A file that does not say of which network it is needs "
            "--model too.",
        ),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    seed: Annotated[int | None, _how("Of initial weights, order and augmentation.")] = None,
    limit: Limit = None,
    workers: Workers = None,
    precision: Precision = None,
    device: Device = None,
    settings: Settings = None,
    out: Out = None,
    resume: Resume = None,
    changed_data: ChangedData = None,
) -> None:
    """Train a network on images of your own, or on a known data set.

    A folder without train, val and test folders is divided into such; which image
    went where is recorded with the run, and is the same the next time.

    Examples:
      senet train --data photos --out runs/photos
      senet train --data photos --weights runs/other
      senet train --data photos --weights timm/seresnet50.a1_in1k
      senet train --model se_resnet20_cifar --data cifar10 --recipe cifar
      senet train --set mixup=0.2 --set reduction=8
      senet train --resume runs/photos
      senet train --resume runs/photos --data moved/photos
    """
    _require_training("config.json", data, recipe, out, resume)
    if weights is not None and is_place(weights):
        _require_file(weights, "file or folder of weights")
    from senet.serving import find_model
    from senet.training.fit import fit
    from senet.training.folder import RunFolder

    if changed_data and not resume:
        raise typer.BadParameter("--changed-data is for a run that is resumed: add --resume RUN")
    if weights and expanded(weights).exists():
        weights = str(find_model(weights))  # of a run folder
    config = _configured(
        RunFolder(resume).read_config() if resume else _recipe(recipe, weights, model, data),
        settings,
        model=model,
        data=data,
        weights=weights,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        limit=limit,
        workers=workers,
        precision=precision,
        device=device,
    )
    folder = resume or out or _new_folder(config.model, config)
    result = fit(config, folder, resume=resume is not None, changed_data=changed_data is Changed.OK)
    right = round(result.test_accuracy * result.test_images)
    _print(f"\ntest accuracy {_accuracy(right, result.test_images)}", style="bold")
    _print(f"run folder {folder}", "")
    run = shlex.quote(str(folder))
    _suggest(
        (f"senet evaluate {run}", "how accurate on each class"),
        (f"senet predict {run} IMAGE...", "what is on other images"),
        (f"senet report {run}", "a page with curves, mistakes and gates"),
    )


@app.command(rich_help_panel=MAIN)
def evaluate(
    model: Run,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Other images than the run's; their classes are the run's, or some of them.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="test (the default), val or train, where there are splits.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 256,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that read images.")] = None,
    device: DeviceHere = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say how accurate a trained network is, class by class too.

    On the images that its run kept for testing, unless others are named. Of another folder all
    images count, if it has no train, val and test folders.

    Examples:
      senet evaluate runs/photos
      senet evaluate runs/photos --data other_photos --json
    """
    _require_file(model, MODEL_FILE)
    from senet.device import find_device
    from senet.serving import find_model
    from senet.training.evaluate import evaluate

    with _working("evaluating"):
        found = evaluate(
            find_model(model),
            data,
            split=split,
            batch_size=batch_size,
            device=find_device(device),
            workers=workers,
        )
    if as_json:
        right = round(found["accuracy"] * found["images"])
        _print_json({**found, "accuracy_95": _interval(right, found["images"])})
    else:
        _show_evaluation(found)


class Format(StrEnum):
    """How predictions are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.command(rich_help_panel=MAIN)
def predict(
    model: Run,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="Files, folders with all below them, patterns."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=expanded,
            metavar="FILE",
            help="Write here; .csv, .json or .txt (the table) say the format.",
        ),
    ] = None,
    format: Annotated[Format | None, typer.Option(help="What to write (table).")] = None,
    top: Annotated[int, typer.Option(min=1, help="Guesses an image.")] = 2,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 32,
    device: DeviceHere = "auto",
) -> None:
    """Say what is on images, and how probable that is.

    An image that cannot be read is listed with the reason; the others go on.

    Examples:
      senet predict runs/photos holiday/ cat.jpg
      senet predict runs/photos 'new/**/*.png' --format csv > classes.csv
      senet predict runs/photos new/ --top 5 --out classes.json
    """
    _require_file(model, MODEL_FILE)
    from senet.serving import Predictor, find_images, formats

    chosen = format.value if format else formats.of_file(out)
    if out is not None:
        formats.require_new(out)
    everything = find_images(images)
    found = [one for one in everything if not one.skipped]
    _say_skipped([one.file for one in everything if one.skipped])
    predictor = Predictor.load(model, device)
    answers = _progress(predictor.predict(found, top, batch_size), "predicting", len(found))
    if out is not None:
        formats.write(out, chosen, answers)
    elif chosen == "table":
        _print(formats.as_table(answers))
    else:
        _write_result(formats.as_bytes(chosen, answers))
    failed = sum(bool(answer.error) for answer in answers)
    if out is not None:
        _print(f"{len(answers) - failed:,} of {len(answers):,} images predicted, written to {out}")
    if failed == len(answers):
        raise typer.Exit(FAILED)


@app.command(rich_help_panel=MAIN)
def report(
    run: Annotated[
        Path,
        typer.Argument(
            parser=expanded, metavar="RUN", help="What senet compare or senet train wrote."
        ),
    ],
) -> None:
    """Write report.html into a run folder.

    One page that opens offline: accuracy, curves, costs, mistakes, and the gates.

    Examples:
      senet report runs/photos
    """
    from senet.analysis import report as analysis

    with _working("writing the report"):
        page = analysis.write(run)
    _print(str(page))


# --- operate --------------------------------------------------------------------------------------

Theirs = Annotated[
    str,
    typer.Option(
        "--model", metavar="NAME", help="timm:seresnet50, torchvision:resnet50, or one of ours."
    ),
]
Benchmark = Annotated[bool, typer.Option("--benchmark", help="Time it before and after; minutes.")]
BenchmarkBatch = Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time (16).")]


@app.command(rich_help_panel=OPERATE)
def accelerate(
    model: Theirs, benchmark: Benchmark = False, batch_size: BenchmarkBatch = 16
) -> None:
    """Show what `senet.accelerate` finds in a network, and what that gains.

    It runs the SE blocks and residual tails of any network on the streaming passes. In your own
    code it is one line: accelerate(model).

    Examples:
      senet accelerate --model timm:seresnet50 --benchmark
      senet accelerate --model torchvision:mobilenet_v3_small
    """
    from torch import randn

    from senet.foreign import find_network
    from senet.fuse.accelerate import accelerate

    network, side = find_network(model)
    report = accelerate(network, randn(batch_size, 3, side, side), inplace=False)
    _show_surgery(report)
    if benchmark:
        _show_times({"as it was": network, "accelerated": report.model}, side, batch_size)


@app.command(rich_help_panel=OPERATE)
def insert(
    model: Theirs,
    reduction: Annotated[int, typer.Option(min=1, help="r of the paper.")] = 16,
    where: Annotated[
        str,
        typer.Option(metavar="PATTERN", help="auto, or paths of modules: 'layer4.*.bn3'."),
    ] = "auto",
    start: Annotated[
        str, typer.Option(help="identity: computes what it did before; paper: gates of 0.5.")
    ] = "identity",
    benchmark: Benchmark = False,
    batch_size: BenchmarkBatch = 16,
) -> None:
    """Show where `senet.surgery.insert_se` puts SE in a network, and what that costs.

    In your own code it is one line: insert_se(model). By default the network then computes exactly
    what it computed before, and learns from there.

    Examples:
      senet insert --model timm:resnet50
      senet insert --model torchvision:mobilenet_v2 --reduction 8 --benchmark
    """
    from senet.foreign import find_network
    from senet.fuse.accelerate import accelerate
    from senet.surgery import insert_se

    network, side = find_network(model)
    report = insert_se(network, reduction, where, start, inplace=False)
    _show_surgery(report)
    if benchmark:
        fast = accelerate(report.model, inplace=False).model
        networks = {"as it was": network, "with SE": report.model, "and accelerated": fast}
        _show_times(networks, side, batch_size)


@app.command(rich_help_panel=OPERATE)
def fold(
    model: Run,
    tolerance: Annotated[
        str, typer.Option(help="Largest variation of gates that are folded, or auto.")
    ] = "auto",
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Of accuracy, as a share, for auto.")
    ] = 0.001,
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Other images than the run's.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Images to choose by: val (the default), test or train."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=expanded,
            rich_help_panel=WHERE,
            metavar="FILE.pt2",
            help="Save the slimmer network, exported.",
        ),
    ] = None,
) -> None:
    """Fold the SE blocks of a trained network that hardly react to the image into its weights.

    What is left computes nearly the same with fewer parameters and in less time. The accuracy is
    looked at on the images that the choice was made by; `--out` writes a program for torch.export.

    Examples:
      senet fold runs/photos
      senet fold runs/photos --tolerance 0.02 --out slim.pt2
    """
    _require_file(model, MODEL_FILE)
    from senet.export.program import save_program
    from senet.serving import find_model
    from senet.surgery import fold_gates
    from senet.training.evaluate import Batches, open_split

    network, record, images = open_split(find_model(model), data, split, usual="val")
    batches = Batches(images, record.preprocessing)
    chosen = tolerance if tolerance == "auto" else value(tolerance, float)
    report = fold_gates(network, batches, chosen, max_loss=max_loss)
    _print(str(report))
    if out is not None:
        save_program(out, network, record)
        _print(f"\nwrote {out}")


# --- look -----------------------------------------------------------------------------------------


@app.command(rich_help_panel=LOOK)
def models(
    pattern: Annotated[str, typer.Argument(metavar="[PATTERN]", help="Such as 'se_*'.")] = "*",
) -> None:
    """List the networks, what they cost, the weights published for them, and their twins.

    Multiply-adds are those of one image of the usual size; top-1 is the highest accuracy that is
    published for weights of the network (`senet weights` lists them).

    Examples:
      senet models
      senet models 'se_resnext*'
    """
    from senet.models import list_models
    from senet.models.describe.catalogue import catalogue

    names = list_models(pattern)
    if not names:
        raise ValueError(f"no network fits {pattern!r}.{near(pattern, list_models())}")
    with _working("counting"):
        tables = list(catalogue(names))
    for table in tables:
        _print(table, "")


@app.command(rich_help_panel=LOOK)
def weights(
    pattern: Annotated[
        str, typer.Argument(metavar="[PATTERN]", help="Of networks or sets, such as 'se_*'.")
    ] = "*",
) -> None:
    """List the published weights that are known by name: their accuracy, licence and source.

    Where weights are wanted, a set is named as here, or by its part after the dot where the network
    is named too.

    Examples:
      senet weights 'se_resnet50*'
      senet train --model se_resnet50 --weights timm_a1_in1k --data photos
    """
    from senet.models import list_weights
    from senet.models.describe.catalogue import weights_table

    names = list_weights(pattern if "." in pattern else f"{pattern}.*")
    if not names:
        raise ValueError(f"no published weights fit {pattern!r}.{near(pattern, list_weights())}")
    _print(weights_table(names), "")


@app.command(rich_help_panel=LOOK)
def summary(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Networks of senet models.")
    ],
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the image in pixels (the network's usual).")
    ] = None,
    in_channels: Annotated[int, typer.Option(min=1, help="Channels of the image.")] = 3,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="Outputs (the network's usual).")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="An option of the network; may be repeated."
        ),
    ] = None,
    time: Annotated[bool, typer.Option(help="Measure the time that an image takes here.")] = True,
) -> None:
    """Print networks as Table 1 of the paper does.

    Several stand side by side where the terminal is wide enough. Below: parameters,
    multiply-adds, how much of both is in SE blocks, and the time of an image here.

    Examples:
      senet summary se_resnet50
      senet summary resnet50 se_resnet50 se_resnext50_32x4d
      senet summary se_resnet20_cifar --set reduction=8 --num-classes 100
    """
    from rich.console import Console

    from senet.models import create_model, entry
    from senet.models.describe.cost import image_ms
    from senet.models.describe.summary import summarise
    from senet.models.describe.tables import tables

    options = _options(names, settings)
    networks = []
    for name in names:
        side = size or entry(name).preprocessing.size
        known = entry(name).options(entry(name).kind(options))
        own = {k: v for k, v in options.items() if k in known}
        model = create_model(name, num_classes=num_classes, in_channels=in_channels, **own)
        networks.append((model, (in_channels, side, side)))
    summaries = [summarise(model, shape) for model, shape in networks]
    times = None
    if time:
        with _working("measuring the time of an image"):
            times = image_ms(networks, repeats=9)
    for table in tables(summaries, times, Console().width):
        _print(table)


@app.command(rich_help_panel=LOOK)
def doctor() -> None:
    """Say what is installed here, what is missing, and what to do about it."""
    from senet import __version__, doctor

    try:
        from senet.ops import backend

        checks = list(doctor.examine(backend.explain()))
    except ImportError as error:  # PyTorch itself is not there
        checks = list(doctor.examine(f"eager: {error}"))
    _show_checks(__version__, checks)
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(FAILED)


# --- what can be refused before PyTorch is loaded -------------------------------------------------


def _require_training(
    record: str, data: str | None, recipe: str | None, out: Path | None, resume: Path | None
) -> None:
    """Refuse at once what a training would refuse after seconds.

    ``record`` is the file that the folder to resume must have.
    """
    from senet.training import recipes
    from senet.training.folder import RunFolder, read_json

    _not_both(resume, out, recipe)
    if recipe is not None:
        recipes.recipe(recipe)
    if data is not None and is_place(data) and not expanded(data).exists():
        raise ValueError(no_folder(data))
    if out is not None:
        RunFolder(out).require_unused()
    if resume is not None:
        read_json(resume / record)


def _require_file(name: str, what: str) -> None:
    """Refuse a path to nothing; a name without a folder may mean something else than a path."""
    if (is_place(name) or "/" in name) and not expanded(name).exists() and "://" not in name:
        raise FileNotFoundError(f"there is no {what} {name!r}")


# --- from words to a configuration ----------------------------------------------------------------


def _recipe(
    name: str | None,
    weights: str | None = None,
    model: str | None = None,
    data: str | None = None,
) -> TrainConfig:
    """The settings to begin with: named, or what suits the data, or the network of the weights."""
    from dataclasses import replace

    from senet.data.mosaic import is_mosaic
    from senet.models.weights.find import find_weights
    from senet.training.recipes import recipe

    place = expanded(data) if data is not None else None
    folder = place is not None and place.is_dir() and not is_mosaic(place)
    base = recipe(name or ("finetune" if weights else "photos" if folder else "quick"))
    if weights is None:
        return base
    known = find_weights(weights, model).record
    if known is None and model is None:
        raise ValueError(f"{weights} does not say of which network it is: add --model")
    if known is None:
        return base
    architecture = known.architecture
    if model not in (None, architecture.name):
        return base
    return replace(base, model=architecture.name, options=architecture.options)


def _not_both(resume: Path | None, out: Path | None, recipe: str | None) -> None:
    for given, option in ((out, "--out"), (recipe, "--recipe")):
        if resume and given:
            raise typer.BadParameter(f"a run that is resumed has its own: leave {option} out")


def _configured(base: TrainConfig, settings: list[str] | None, **given: Any) -> TrainConfig:
    """``base`` with what the command line says; ``None`` is not said."""
    from dataclasses import replace

    from senet.models import entry
    from senet.models.attention import is_option
    from senet.training.config import TrainConfig

    changes = {name: value for name, value in given.items() if value is not None}
    kinds = {k: v for k, v in get_type_hints(TrainConfig).items() if k != "options"}
    texts = pairs(settings or [])
    changes |= {k: value(v, kinds[k]) for k, v in texts.items() if k in kinds}
    model = changes.get("model", base.model)
    known = _known(model, {**base.options, **texts})
    options = {k: v for k, v in base.options.items() if k in known}
    if base.model not in (model, entry(model).twin):
        # Options of SE blocks mean the same in every network; others are of the recipe's own one.
        options = {k: v for k, v in options.items() if is_option(k)}
    for key, text in texts.items():
        if key not in kinds:
            options[key] = _option(key, text, known, [*kinds, *known])
    return replace(base, options=options, **changes)


def _options(names: list[str], settings: list[str] | None) -> dict[str, Any]:
    """Options for several networks: each must be known to one of them at least."""
    texts = pairs(settings or [])
    known = {k: v for name in names for k, v in _known(name, texts).items()}
    return {k: _option(k, text, known, known) for k, text in texts.items()}


def _vary(text: str, config: TrainConfig) -> Vary:
    """``KEY=V1,V2``: values of the kind of the option, lists of numbers joined by ``+``."""
    from senet.models import entry
    from senet.training.variants import Vary

    ((key, listed),) = pairs([text], "--vary").items()
    twins = entry(config.model)
    known = _known(config.model if twins.has_se else twins.twin, config.options)
    kind = type(known.get(key))
    values = (one.strip() for one in listed.split(","))
    return Vary(key, tuple(value(one.replace("+", ","), kind) for one in values if one))


def _known(name: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a network, with those of the attention that was chosen for it."""
    from senet.models import entry

    return entry(name).options(entry(name).kind(chosen))


def _option(key: str, text: str, known: Mapping[str, Any], names: Iterable[str]) -> Any:
    if key not in known:
        raise typer.BadParameter(f"--set {key}: there is no such setting.{near(key, names)}")
    return value(text, type(known[key]))


def _new_folder(what: str, config: TrainConfig) -> Path:
    """``runs/<what>-<data>-<time>``."""
    import re
    import time

    data = re.sub(r"[^\w.-]+", "-", expanded(config.data).resolve().name)
    return Path("runs") / f"{what}-{data}-{time.strftime('%Y%m%d-%H%M%S')}"


# --- what is printed ------------------------------------------------------------------------------


def _print(*what: Any, style: str = "") -> None:
    """Text as it is: brackets in the name of a folder are no markup."""
    from rich.console import Console

    console = Console(highlight=False)
    for one in what:
        console.print(one, style=style, markup=False, soft_wrap=isinstance(one, str))


def _print_json(values: Mapping[str, Any]) -> None:
    import json

    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    _write_result(text.encode("utf-8", "backslashreplace"))


def _write_result(content: bytes) -> None:
    """What programs read is UTF-8, whatever the terminal is set to."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _say_skipped(files: list[str]) -> None:
    """Of files in folders that are no images."""
    if files:
        shown = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
        what = "a file is no image, and was" if len(files) == 1 else "files are no images, and were"
        count = "" if len(files) == 1 else f"{len(files):,} "
        _say("warning", f"{count}{what} skipped: {shown}")


def _suggest(*commands: tuple[str, str]) -> None:
    """Commands, and what they are for: beside them, or above where a line would be too long.

    They are never wrapped, so that they can be copied.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    wide = max(len(command) for command, _ in commands)
    beside = all(2 + wide + 2 + len(what) <= console.width for _, what in commands)
    for command, what in commands:
        if beside:
            line = Text.assemble(f"  {command:{wide}}  ", (what, "dim"))
        else:
            line = Text.assemble((f"  {what}:\n", "dim"), f"    {command}")
        console.print(line, soft_wrap=True)


@contextmanager
def _working(what: str) -> Iterator[None]:
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else nullcontext():
        yield


def _progress(what: Iterable[Any], description: str, total: int) -> list[Any]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return list(
        track(
            what,
            description,
            total,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
    )


def _interval(right: int, images: int) -> tuple[float, float]:
    """Of 95 %."""
    from senet.analysis.statistics import accuracy

    found = accuracy(right, images)
    return found.low, found.high


def _percent(*shares: float) -> str:
    return " … ".join(f"{100 * share:.1f}" for share in shares)


def _accuracy(right: int, images: int) -> str:
    low_high = _percent(*_interval(right, images))
    return (
        f"{_percent(right / images)} % (95 % interval {low_high}; {right:,} of {images:,} images)"
    )


def _plain_table(*columns: str) -> Table:
    """Without borders; the first column holds names, the others numbers."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", vertical="bottom")
    return table


def _show_surgery(report: Report) -> None:
    """What was found, places of the same kind in one line."""
    table = _plain_table("found", "places", "", "such as")
    kinds: dict[tuple[str, str], list[str]] = {}
    for finding in report.findings:
        outcome = finding.done or f"left alone: {finding.why}"
        kinds.setdefault((finding.found, outcome), []).append(finding.path or "(the network)")
    for (found, outcome), paths in kinds.items():
        table.add_row(found, str(len(paths)), outcome, paths[0])
    _print(f"{report.title}: {len(report.changed)} places changed", style="bold")
    _print(table)


def _show_times(networks: Mapping[str, nn.Module], side: int, batch_size: int) -> None:
    from senet.models.describe.cost import in_turn_times

    with _working("timing"):
        times = in_turn_times(networks, (3, side, side), batch_size)
    table = _plain_table(f"{batch_size} images of {side}×{side}, ms", *networks)
    for what, ms in times.items():
        first = next(iter(ms.values()))
        table.add_row(what, *(f"{one:.0f} ({first / one:.2f}×)" for one in ms.values()))
    _print("", table)


def _show_comparison(folder: Path) -> str:
    """Print it, and say what the page has more."""
    from senet.analysis import runs
    from senet.analysis.subject import Subject

    subject = Subject.of(runs.read(folder))
    if subject.variation:
        _show_variation(subject)
        return "All costs, and accuracy drawn against them"
    _show_pair(subject)
    return "Curves, costs, mistakes and gates"


def _show_pair(subject: Subject) -> None:
    from rich.text import Text

    from senet.analysis import statistics
    from senet.models.describe.tables import count

    seeds = len(subject.seeds)
    spread = "95 %\ninterval" if seeds == 1 else f"std of\n{seeds} seeds"
    table = _plain_table("network", "test\naccuracy", spread, "params", "mult-adds", "ms a step")
    for role, name in subject.names.items():
        rights = [p.right for p in subject.predictions(role)]
        shares = [float(right.mean()) for right in rights]
        if seeds == 1:
            sure = _percent(*_interval(int(rights[0].sum()), len(rights[0])))
        else:
            sure = f"± {_percent(statistics.over_seeds(shares).std)}"
        cost = (subject.cost or {}).get(name, {})
        table.add_row(
            name,
            f"{_percent(sum(shares) / seeds)} %",
            sure,
            f"{cost['parameters']:,}" if cost else "",
            count(int(cost["multiply_adds"])) if cost else "",
            f"{cost['step_ms']:.1f}" if cost else "",
        )
    _print("", table, "")
    verdict = statistics.verdict(subject.comparison, *(subject.names[r] for r in ("plain", "se")))
    _print(Text(verdict), "", style="bold")


def _show_variation(subject: Subject) -> None:
    from rich.text import Text

    from senet.analysis import statistics, variation

    assert subject.variation is not None
    seeds = len(subject.seeds)
    table = _plain_table(
        subject.variation.option,
        "test\naccuracy",
        "95 %\ninterval" if seeds == 1 else f"std of\n{seeds} seeds",
        "minus\nplain",
        "95 %\ninterval",
        "params",
        "ms a step",
    )
    for row in variation.rows(subject):
        low, high = row.spread.low, row.spread.high
        sure = _percent(low, high) if seeds == 1 else f"± {_percent((high - low) / 2)}"
        difference = row.comparison and row.comparison.difference
        table.add_row(
            row.label,
            f"{_percent(row.accuracy)} %",
            sure,
            statistics.signed(difference.value) if difference else "",
            statistics.interval(difference) if difference else "",
            f"{row.cost['parameters']:,.0f}" if row.cost else "",
            f"{row.cost['step_ms']:.1f}" if row.cost else "",
        )
    _print("", table, "")
    _print(Text(variation.verdict(subject)), "", style="bold")


def _show_evaluation(found: Mapping[str, Any]) -> None:
    from rich.text import Text

    right = round(found["accuracy"] * found["images"])
    title = "accuracy" if found["split"] == "all" else f"{found['split']} accuracy"
    _print(f"{title} {_accuracy(right, found['images'])}", style="bold")
    if found["top5"] is not None:
        _print(f"top-5 {_percent(found['top5'])} %")
    _print(f"loss {found['loss']:.3f}", "")
    table = _plain_table("class", "accuracy")
    table.add_column()
    absent = [name for name, share in found["class_accuracy"].items() if share is None]
    for name, share in found["class_accuracy"].items():
        if share is not None:
            table.add_row(Text(name), f"{_percent(share)} %", Text("█" * round(30 * share), "cyan"))
    for name in absent[:5]:
        table.add_row(Text(name), "", Text("no image", "dim"))
    if more := absent[5:]:
        table.add_row(Text(f"{len(more):,} more classes", "dim"), "", Text("no image", "dim"))
    _print(table)
    if new := found["new"]:
        right = round(new["accuracy"] * new["images"])
        _print("", f"new since the training, not counted: {_accuracy(right, new['images'])}")
    if found["seen"]:
        _say(
            "warning",
            f"the network was trained on {found['seen']:,} of these {found['images']:,} images, so"
            " this says little of images that it has not seen",
        )


def _show_checks(version: str, checks: list[Check]) -> None:
    from rich.text import Text

    marks = {"ok": ("✓", "green"), "missing": ("✗", "bold red"), "absent": ("–", "yellow")}
    _print(f"senet {version}", style="bold")
    for group, found in groupby(checks, lambda check: check.group):
        table = _plain_table("", "", "")
        table.show_header = False
        for column in table.columns:
            column.justify, column.vertical = "left", "top"
        for check in found:
            table.add_row(Text(*marks[check.state]), Text(check.name), Text(check.says))
        _print(f"\n{group}", style="bold")
        _print(table)
