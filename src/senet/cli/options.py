"""Options shared by several commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from senet.paths import expanded

# The panels of `senet --help`, and those of a command's options.
MAIN, LOOK = "Train and use networks", "Inspect networks and this machine"
OPERATE = "Modify networks"
HOW = "How to train"
WHERE = "Where to write"


def _how(help: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=HOW, help=help, **more)


def where(help: str, metavar: str) -> Any:
    """Return an option for a path to write to or to resume."""
    return typer.Option(parser=expanded, rich_help_panel=WHERE, metavar=metavar, help=help)


# --- how to train: `compare` and `train` ----------------------------------------------------------

Data = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="A folder with one folder of images for each class (or with train, val and test "
        "folders of those), a zip or tar file of that, a table (labels.csv, or "
        "labels.csv:file=COLUMN,label=COLUMN), fashion-mnist (bundled), cifar10, cifar100, or a "
        "data set of the Hugging Face hub.",
    ),
]
Seed = Annotated[int | None, _how("Seed of initial weights, image order and augmentation.")]


@dataclass(frozen=True)
class How:
    """How to train: the options that `compare` and `train` share; ``None`` if not given."""

    epochs: Annotated[int | None, _how("Passes over the images; with weights possibly 0.")] = None
    batch_size: Annotated[int | None, _how("Images per step.")] = None
    lr: Annotated[float | None, _how("Highest learning rate of the schedule.", "--lr")] = None
    limit: Annotated[int | None, _how("Most images per split, for a trial run.")] = None
    workers: Annotated[int | None, _how("Processes that read images.")] = None
    precision: Annotated[str | None, _how("32, bf16-mixed, or 16-mixed on a GPU.")] = None
    device: Annotated[str | None, _how("auto, cpu, cuda or mps.")] = None
    settings: Annotated[
        list[str] | None,
        _how(
            "Any other setting of the training or option of the network; may be repeated.",
            "--set",
            metavar="KEY=VALUE",
        ),
    ] = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of a configuration that were given by their own options."""
        return {k: v for k, v in asdict(self).items() if k != "settings" and v is not None}


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the fields of :class:`How` into options of a command, which gets them as ``how``."""
    hints = get_type_hints(How, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [inspect.Parameter(f.name, keyword, default=f.default) for f in fields(How)]
    shared = [one.replace(annotation=hints[one.name]) for one in shared]
    parameters = []
    for one in inspect.signature(command, eval_str=True).parameters.values():
        parameters += shared if one.name == "how" else [one.replace(kind=keyword)]

    @wraps(command)
    def run(**given: Any) -> None:
        how = How(**{f.name: given.pop(f.name) for f in fields(How)})
        command(**given, how=how)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    del run.__wrapped__  # otherwise its own parameters would be used
    return run


Out = Annotated[Path | None, where("Folder to write (a new one in runs/).", "FOLDER")]
Resume = Annotated[
    Path | None,
    where("Resume this interrupted run. If its images have moved, add --data.", "RUN"),
]


class Changed(StrEnum):
    """What to do if images have changed."""

    OK = "ok"


ChangedData = Annotated[
    Changed | None,
    typer.Option(
        rich_help_panel=WHERE,
        help="ok: resume even if images of the run are missing or have changed.",
    ),
]

# --- a trained network: `evaluate`, `predict`, `fold` ---------------------------------------------

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="A run folder, or a model.safetensors file.")
]
Trained = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run folder or model file; or published weights: a set of [bold]senet "
        "weights[/bold], a repository of the Hugging Face hub, a URL, timm:NAME, or any file of "
        "weights (with --model, if it does not name its network).",
    ),
]
Network = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", help="The network of weights that do not name it themselves."
    ),
]
Preprocessing = Annotated[
    str | None,
    typer.Option(
        "--preprocessing",
        metavar="HOW",
        help="How images are taken, for weights that do not say it (a guess): "
        "mean=0.5,std=0.5,size=224, of pixels in 0 … 1, with one value or one for each channel; or "
        "timm:NAME, as that network of timm takes them.",
    ),
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE...",
        help="Files, folders (with subfolders), zip and tar files, patterns, web addresses, or "
        "a table of files (labels.csv).",
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per batch.")]
DeviceHere = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]

# --- a network from any library: `accelerate`, `insert` -------------------------------------------

Theirs = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        help="timm:seresnet50, torchvision:resnet50, or one of `senet models`.",
    ),
]
Benchmark = Annotated[
    bool, typer.Option("--benchmark", help="Time it before and after; takes minutes.")
]
BenchmarkBatch = Annotated[int, typer.Option("--batch-size", min=1, help="Images per batch.")]
