"""Tables of networks, published weights and this machine, and the columns that matter most."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from senet import known
from senet.cli.show import (
    Cell,
    name,
    number,
    prose,
    show,
    show_details,
    show_left_out,
    show_table,
)
from senet.counted import counted

if TYPE_CHECKING:
    from senet.doctor import Check
    from senet.graph.report import Report

# --- networks and weights -------------------------------------------------------------------------


def show_networks(names: Sequence[str]) -> None:
    """Print networks with their costs, in one table for each kind of image."""
    found = [known.networks()[one] for one in names]
    longest = max(len(one) for network in found for one in (network.name, network.twin))
    columns = [
        name("network", least=longest),
        number("parameters", least=11),
        number("multiply-adds", drop=2),
        number("top-1", drop=3),
        number("weights", drop=4),
        name("twin", drop=5, style="dim", least=longest),
    ]
    left_out: list[str] = []
    for (channels, size, classes), group in groupby(sorted(found, key=_order), _images):
        rows: list[list[Cell]] = []
        for network in group:
            best = max(known.top1(network.name), default=None)
            rows.append(
                [
                    network.name,
                    f"{network.parameters:,}",
                    known.count(network.multiply_adds),
                    _percent(best),
                    str(len(known.weights_of(network.name)) or ""),
                    network.twin,
                ]
            )
        title = f"images of {channels} × {size} × {size}, {classes:,} classes"
        left_out += show_table(columns, rows, title)
        show("")
    show_left_out(left_out, "senet models NAME")


def _images(network: known.Network) -> tuple[int, int, int]:
    """Return channels, size and classes of the images that a network is listed for."""
    return network.channels, network.size, network.num_classes


def _order(network: known.Network) -> tuple[int, list[str | int], bool]:
    """Put large images first; then sort by depth, each network before its twin with SE."""
    parts = re.split(r"(\d+)", network.plain)
    return -network.size, [int(p) if p.isdigit() else p for p in parts], network.has_se


def show_weights(names: Sequence[str]) -> None:
    """Print published sets: accuracy, input size, licence and source."""
    columns = [
        name("set"),
        number("top-1"),
        number("top-5", drop=3),
        number("input", drop=1),
        name("licence", drop=2, style="dim"),
        name("source", drop=4, style="dim"),
    ]
    rows: list[list[Cell]] = []
    for one in names:
        found = known.weights()[one]
        shares = (_percent(found.get(key)) for key in ("top1", "top5"))
        rows.append([one, *shares, f"{found['size']}²", found["licence"], found["source"]])
    show_table(columns, rows, "published weights", more="senet weights SET")
    show("")


def show_set(which: str) -> None:
    """Print everything known about a published set."""
    found = known.weights()[which]
    options = ", ".join(f"{key}={value}" for key, value in found.get("options", {}).items())
    size, crop = found["size"], found["crop"]
    show(which, style="bold")
    show_details(
        [
            ("source", found["source"]),
            ("licence", found["licence"]),
            ("top-1", _percent(found.get("top1"))),
            ("top-5", _percent(found.get("top5"))),
            ("tested with", found.get("tested", "")),
            ("published in", found["report"]),
            ("trained", found.get("trained", "")),
            ("input", f"{size} × {size} pixels, crop {crop:g}, {found['interpolation']}"),
            ("mean", ", ".join(map(str, found.get("mean", ())))),
            ("std", ", ".join(map(str, found.get("std", ())))),
            ("classes", f"{found.get('num_classes', 1000):,}"),
            ("network", which.partition(".")[0]),
            ("options", options),
        ]
    )


def _percent(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.1f} %"


# --- modified networks, and this machine ----------------------------------------------------------


def show_surgery(report: Report) -> None:
    """Print what was found, with places of the same kind in one line."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for finding in report.findings:
        outcome = finding.done or f"left alone: {finding.why}"
        kinds.setdefault((finding.found, outcome), []).append(finding.path or "(the network)")
    columns = [name("found"), number("places"), prose(), name("such as", drop=1)]
    rows: list[list[Cell]] = [
        [found, str(len(paths)), outcome, paths[0]] for (found, outcome), paths in kinds.items()
    ]
    show(f"{report.title}: {counted(len(report.changed), 'place')} changed", style="bold")
    show_table(columns, rows)


def show_times(times: Mapping[str, Mapping[str, float]], side: int, batch_size: int) -> None:
    """Print the times of networks, in milliseconds and as multiples of the first."""
    rows: list[list[Cell]] = []
    for what, ms in times.items():
        first = next(iter(ms.values()))
        rows.append([what, *(f"{one:.0f} ({first / one:.2f}×)" for one in ms.values())])
    networks = next(iter(times.values()))
    show("")
    show_table([name(f"{batch_size} images of {side}×{side}, ms"), *map(number, networks)], rows)


def show_checks(version: str, checks: Sequence[Check]) -> None:
    """Print what `senet doctor` found."""
    marks = {"ok": ("✓", "green"), "missing": ("✗", "bold red"), "absent": ("–", "yellow")}
    show(f"senet {version}", style="bold")
    for group, found in groupby(checks, lambda check: check.group):
        rows: list[list[Cell]] = [[marks[c.state], c.name, c.says] for c in found]
        show("")
        show_table([name(""), name(""), prose()], rows, title=group)
