"""Commands that modify networks: ``accelerate``, ``insert`` and ``fold``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from senet.cli import config
from senet.cli.early import require_model
from senet.cli.options import Benchmark, BenchmarkBatch, Run, Theirs, where
from senet.cli.results import percent
from senet.cli.show import show, working
from senet.cli.tables import show_surgery, show_times
from senet.counted import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn


def accelerate(
    model: Theirs, benchmark: Benchmark = False, batch_size: BenchmarkBatch = 16
) -> None:
    """Show what `senet.accelerate` finds in a network, and how much time it saves.

    It runs the SE blocks and residual tails of any network on the streaming
    passes. In your own code it is one line: accelerate(model).

    Examples:
      senet accelerate --model timm:seresnet50 --benchmark
      senet accelerate --model torchvision:mobilenet_v3_small
    """
    from senet.foreign import find_network

    network, side = find_network(model)

    from torch import randn

    from senet.fuse.accelerate import accelerate

    report = accelerate(network, randn(batch_size, 3, side, side), inplace=False)
    show_surgery(report)
    if benchmark:
        _time({"as it was": network, "accelerated": network}, side, batch_size)


def insert(
    model: Theirs,
    reduction: Annotated[int, typer.Option(min=1, help="r of the paper.")] = 16,
    where: Annotated[
        str,
        typer.Option(metavar="PATTERN", help="auto, or paths of modules: 'layer4.*.bn3'."),
    ] = "auto",
    start: Annotated[
        str, typer.Option(help="identity: computes the same as before; paper: gates of 0.5.")
    ] = "identity",
    benchmark: Benchmark = False,
    batch_size: BenchmarkBatch = 16,
) -> None:
    """Show where `senet.surgery.insert_se` puts SE in a network, and what that costs.

    In your own code it is one line: insert_se(model). By default the network
    still computes exactly what it did before, and learns from there.

    Examples:
      senet insert --model timm:resnet50
      senet insert --model torchvision:mobilenet_v2 --reduction 8 --benchmark
    """
    from senet.foreign import find_network

    network, side = find_network(model)

    from senet.surgery import insert_se

    report = insert_se(network, reduction, where, start, inplace=False)
    show_surgery(report)
    if benchmark:
        changed = report.model
        networks = {"as it was": network, "with SE": changed, "and accelerated": changed}
        _time(networks, side, batch_size)


def _time(networks: Mapping[str, nn.Module], side: int, batch_size: int) -> None:
    """Time a step and a forward pass of each; accelerate those whose name says so."""
    from senet.fuse.accelerate import accelerate
    from senet.models.describe.cost import in_turn_times

    def ready(name: str, copy: nn.Module) -> None:
        if "accelerated" in name:
            accelerate(copy)

    with working("timing"):
        times = in_turn_times(networks, (3, side, side), batch_size, ready=ready)
    show_times(times, side, batch_size)


def fold(
    model: Run,
    tolerance: Annotated[
        str, typer.Option(help="Largest variation of gates to fold, or auto.")
    ] = "auto",
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Accuracy that auto may cost, as a share.")
    ] = 0.001,
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Images other than the run's.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Images to choose by: val (the default), test or train."),
    ] = None,
    out: Annotated[Path | None, where("Export the slimmer network to a file.", "FILE.pt2")] = None,
) -> None:
    """Fold SE blocks of a trained network that hardly react to the image into its weights.

    The rest computes nearly the same, with fewer parameters and in less time.
    The blocks are chosen, and the accuracy measured, on the same images.
    --out writes a torch.export program.

    Examples:
      senet fold runs/photos
      senet fold runs/photos --tolerance 0.02 --out slim.pt2
    """
    file = require_model(model)
    chosen = tolerance if tolerance == "auto" else config.value(tolerance, float)

    from senet.data.batches import Batches
    from senet.export.program import require_program, save_program
    from senet.runs.scored import open_scored
    from senet.surgery import fold_gates

    if out is not None:
        require_program(out)
    network, record, found = open_scored(file, data, split, usual="val")
    batches = Batches(found.images, record.preprocessing)
    if chosen == "auto" and len(found.images) * max_loss < 1:
        step = percent(1 / len(found.images))
        warnings.warn(
            f"one of {counted(len(found.images), 'image')} is {step} % of the accuracy, which is "
            f"more than may be lost (--max-loss {max_loss:g}): what a block is worth is chance "
            "here. --split train, or --data, gives more images",
            stacklevel=2,
        )
    report = fold_gates(network, batches, chosen, max_loss=max_loss)
    show(str(report))
    if out is not None:
        save_program(out, network, record)
        show(f"\nwrote {out}")
