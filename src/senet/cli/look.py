"""Commands that inspect: ``models``, ``weights``, ``summary`` and ``doctor``."""

from __future__ import annotations

import fnmatch
from typing import Annotated

import typer

from senet import known
from senet.cli import config, tables
from senet.cli.app import FAILED
from senet.cli.early import loading, require_networks
from senet.cli.show import show, width, working
from senet.near import near


def models(
    pattern: Annotated[
        str, typer.Argument(metavar="PATTERN", help="Networks to list, such as 'se_*'.")
    ] = "*",
) -> None:
    """List the networks: their cost, published weights and twins.

    Multiply-adds are for one image of the usual size. top-1 is the highest
    published accuracy of the network's weights; `senet weights` lists them.

    Examples:
      senet models
      senet models 'se_resnext*'
    """
    names = fnmatch.filter(known.networks(), pattern)
    if not names:
        raise ValueError(f"no network matches {pattern!r}.{near(pattern, known.networks())}")
    tables.show_networks(names)


def weights(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="PATTERN",
            help="Networks, sets or data to list, such as 'se_*', timm_a1_in1k or cifar10; or one "
            "set.",
        ),
    ] = "*",
) -> None:
    """List the published weights: their accuracy, licence and source.

    Options that take weights accept these names. If the network is named too,
    the part after the dot is enough. Name one set to see all its details.

    Examples:
      senet weights 'se_resnet50*'
      senet weights cifar10
      senet weights se_resnet50.timm_a1_in1k
      senet train --model se_resnet50 --weights timm_a1_in1k --data photos
    """
    sets = sorted(known.weights())
    if pattern in sets:
        tables.show_set(pattern)
        return
    names = known.weights_like(pattern)
    if not names:
        guess = near(pattern, sets)
        raise ValueError(
            f"no published weights match {pattern!r}.{guess} `senet weights` lists all"
        )
    tables.show_weights(names)


def summary(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Networks of `senet models`.")
    ],
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the image in pixels (network's default).")
    ] = None,
    in_channels: Annotated[int, typer.Option(min=1, help="Channels of the image.")] = 3,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="Number of classes (network's default).")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="An option of the network; may be repeated."
        ),
    ] = None,
    time: Annotated[bool, typer.Option(help="Measure the time per image here.")] = True,
) -> None:
    """Print networks in the form of Table 1 of the paper.

    Several are printed side by side if the terminal is wide enough. Below are
    parameters, multiply-adds, the share of SE blocks in both, and the time per
    image on this machine.

    Examples:
      senet summary se_resnet50
      senet summary resnet50 se_resnet50 se_resnext50_32x4d
      senet summary se_resnet20_cifar --set reduction=8 --num-classes 100
    """
    require_networks(names)
    from senet.models import create_model, entry
    from senet.models.describe.cost import image_ms
    from senet.models.describe.summary import summarise
    from senet.models.describe.tables import tables as as_tables

    options = config.options_of(names, settings)
    networks = []
    for name in names:
        side = size or entry(name).preprocessing.size
        takes = entry(name).options(entry(name).kind(options))
        own = {k: v for k, v in options.items() if k in takes}
        model = create_model(name, num_classes=num_classes, in_channels=in_channels, **own)
        networks.append((model, (in_channels, side, side)))
    summaries = [summarise(model, shape) for model, shape in networks]
    times = None
    if time:
        with working("measuring the time per image"):
            times = image_ms(networks, repeats=9)
    for table in as_tables(summaries, times, width()):
        show(table)


def doctor() -> None:
    """Show what is installed here, what is missing, and what to do about it.

    The exit code is 1 if something is missing that senet needs.

    Examples:
      senet doctor
    """
    from senet import __version__, doctor

    try:
        with loading():
            from senet.ops import backend

            backends = backend.explain()
        checks = list(doctor.examine(backends))
    except ImportError as error:  # PyTorch itself is missing
        checks = list(doctor.examine(f"eager: {error}"))
    tables.show_checks(__version__, checks)
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(FAILED)
