"""Tables of all networks: what they cost, and which weights are published for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from rich.table import Table

from senet.models.architecture import Architecture
from senet.models.describe import cost
from senet.models.describe.tables import count
from senet.models.registry import entry
from senet.models.weights.published import list_weights, published


def catalogue(names: Sequence[str]) -> Iterator[Table]:
    """Yield the networks ``names``, in one table for each size of input.

    A row has the network's parameters and multiply-adds, the highest top-1 accuracy of the weights
    that are published for it, how many sets there are, and its twin.

    Example:
        >>> [table.row_count for table in catalogue(["resnet8_cifar", "se_resnet8_cifar"])]
        [2]
    """
    longest = max(map(len, [*names, *(entry(name).twin for name in names)]), default=0)
    for usual, group in groupby(sorted(names, key=_order), _usual):
        (channels, size, _), classes = usual
        table = _table(f"images of {channels} × {size} × {size}, {classes:,} classes")
        table.add_column("network", no_wrap=True, min_width=longest)
        table.add_column("parameters", justify="right", min_width=11)
        table.add_column("multiply-adds", justify="right")
        table.add_column("top-1", justify="right")
        table.add_column("weights", justify="right")
        table.add_column("twin", style="dim", no_wrap=True, min_width=longest)
        for name in group:
            with torch.device("meta"):  # costs need shapes alone
                model = Architecture.of(name).build()
            table.add_row(
                name,
                f"{cost.parameters(model)[0]:,}",
                count(cost.multiply_adds(model, usual[0])[0]),
                *_weights_of(name),
                entry(name).twin,
            )
        yield table


def _weights_of(name: str) -> tuple[str, str]:
    """Return the highest published accuracy of weights of a network, and the number of sets."""
    sets = [published(w) for w in list_weights(f"{name}.*")]
    accuracies = [s.record.metrics["top1"] for s in sets if "top1" in s.record.metrics]
    best = f"{100 * max(accuracies):.1f} %" if accuracies else ""
    return best, str(len(sets) or "")


def weights_table(names: Sequence[str]) -> Table:
    """Return a table of published weights: accuracy, size of input, licence, and source.

    Example:
        >>> weights_table(list_weights("se_resnet50.timm_a*")).row_count
        3
    """
    table = _table("published weights")
    table.add_column("set", no_wrap=True)
    table.add_column("top-1", justify="right")
    table.add_column("top-5", justify="right")
    table.add_column("input", justify="right", no_wrap=True)
    table.add_column("licence", style="dim", no_wrap=True)
    table.add_column("source", style="dim", overflow="fold")
    for name in names:
        found = published(name)
        top1, top5 = (_percent(found.record.metrics.get(k)) for k in ("top1", "top5"))
        size = f"{found.record.preprocessing.size}²"
        table.add_row(name, top1, top5, size, found.licence, found.source)
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _table(title: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title=title)
    table.title_justify, table.title_style = "left", "bold"
    return table


def _usual(name: str) -> tuple[tuple[int, int, int], int]:
    """Return the shape of the images and the number of classes that a network is known for."""
    found = entry(name)
    size = found.preprocessing.size
    return (found.preprocessing.channels, size, size), found.num_classes


def _order(name: str) -> tuple[int, list[str | int], bool]:
    """Return a key that sorts by size of input, then depth, each network before its SE twin."""
    found = entry(name)
    parts = re.split(r"(\d+)", found.plain or name)
    size = found.preprocessing.size
    return -size, [int(p) if p.isdigit() else p for p in parts], found.has_se
