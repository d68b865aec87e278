"""The tables that the commands print: which columns, and which of them matter most."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from senet import known
from senet.cli.show import (
    Cell,
    name,
    number,
    prose,
    say,
    show,
    show_details,
    show_left_out,
    show_table,
)

if TYPE_CHECKING:
    from senet.analysis.subject import Subject
    from senet.analysis.variation import Row
    from senet.doctor import Check
    from senet.graph.report import Report

# --- figures --------------------------------------------------------------------------------------


def percent(*shares: float) -> str:
    """Return shares in percent, the bounds of an interval joined by ``…``.

    Example:
        >>> percent(0.5), percent(0.5, 0.75)
        ('50.0', '50.0 … 75.0')
    """
    return " … ".join(f"{100 * share:.1f}" for share in shares)


def interval(right: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy."""
    from senet.analysis.statistics import accuracy

    found = accuracy(right, images)
    return found.low, found.high


def accuracy(right: int, images: int) -> str:
    """Return an accuracy in words, with its interval."""
    low_high = percent(*interval(right, images))
    return f"{percent(right / images)} % (95 % interval {low_high}; {right:,} of {images:,} images)"


# --- networks and weights -------------------------------------------------------------------------


def show_networks(names: Sequence[str]) -> None:
    """Print networks with their costs, a table for each kind of images."""
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
    """Return channels, size and classes of the images that a network is known for."""
    return network.channels, network.size, network.num_classes


def _order(network: known.Network) -> tuple[int, list[str | int], bool]:
    """Put large images first; then sort by depth, each network before its twin with SE."""
    parts = re.split(r"(\d+)", network.plain)
    return -network.size, [int(p) if p.isdigit() else p for p in parts], network.has_se


def show_weights(names: Sequence[str]) -> None:
    """Print published sets: accuracy, the input they were made for, licence, and source."""
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
    """Print everything that is known of a published set."""
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


# --- trainings ------------------------------------------------------------------------------------


def show_comparison(folder: Path) -> str:
    """Print a comparison, and return what its page has more."""
    from rich.text import Text

    from senet.analysis import runs, statistics, variation
    from senet.analysis.subject import Subject

    subject = Subject.of(runs.read(folder))
    show("")
    show_table(*_compared(subject), more=f"senet report {folder}")
    show("")
    if subject.variation:
        show(Text(variation.verdict(subject)), "", style="bold")
        return "All costs, and accuracy drawn against them"
    names = (subject.names[role] for role in ("plain", "se"))
    show(Text(statistics.verdict(subject.comparison, *names)), "", style="bold")
    return "Curves, costs, mistakes and gates"


def _compared(subject: Subject) -> tuple[list[Any], list[list[Cell]]]:
    """Return the columns and rows of a comparison."""
    from senet.analysis import variation

    varied = subject.variation
    seeds = len(subject.seeds)
    columns = [
        name(varied.option if varied else "network"),
        number("test\naccuracy"),
        number("95 %\ninterval" if seeds == 1 else f"std of\n{seeds} seeds", drop=2),
        *([number("minus\nplain", drop=1), number("95 %\ninterval", drop=3)] if varied else []),
        number("params", drop=4),
        *([] if varied else [number("mult-adds", drop=6)]),
        number("ms a step", drop=5),
    ]
    return columns, [
        _compared_row(row, seeds, varied is not None) for row in variation.rows(subject)
    ]


def _compared_row(row: Row, seeds: int, varied: bool) -> list[Cell]:
    from senet.analysis import statistics

    low, high = row.spread.low, row.spread.high
    difference = row.comparison and row.comparison.difference
    cells: list[Cell] = [
        row.label,
        f"{percent(row.accuracy)} %",
        percent(low, high) if seeds == 1 else f"± {percent((high - low) / 2)}",
    ]
    if varied:
        cells.append(statistics.signed(difference.value) if difference else "")
        cells.append(statistics.interval(difference) if difference else "")
    cells.append(f"{row.cost['parameters']:,.0f}" if row.cost else "")
    if not varied:
        cells.append(known.count(int(row.cost["multiply_adds"])) if row.cost else "")
    return [*cells, f"{row.cost['step_ms']:.1f}" if row.cost else ""]


def show_evaluation(found: Mapping[str, Any]) -> None:
    """Print what `senet evaluate` found."""
    right = round(found["accuracy"] * found["images"])
    title = "accuracy" if found["split"] == "all" else f"{found['split']} accuracy"
    show(f"{title} {accuracy(right, found['images'])}", style="bold")
    if found["top5"] is not None:
        show(f"top-5 {percent(found['top5'])} %")
    show(f"loss {found['loss']:.3f}", "")
    shares = found["class_accuracy"]
    rows: list[list[Cell]] = [
        [one, f"{percent(share)} %", ("█" * round(30 * share), "cyan")]
        for one, share in shares.items()
        if share is not None
    ]
    absent = [one for one, share in shares.items() if share is None]
    rows += [[one, "", ("no image", "dim")] for one in absent[:5]]
    if more := absent[5:]:
        rows.append([(f"{len(more):,} more classes", "dim"), "", ("no image", "dim")])
    show_table([name("class"), number("accuracy"), name("", drop=1)], rows)
    if new := found["new"]:
        right = round(new["accuracy"] * new["images"])
        show("", f"new since the training, not counted: {accuracy(right, new['images'])}")
    if found["seen"]:
        say(
            "warning",
            f"the network was trained on {found['seen']:,} of these {found['images']:,} images, so"
            " this says little of images that it has not seen",
        )


# --- other networks, and this machine -------------------------------------------------------------


def show_surgery(report: Report) -> None:
    """Print what was found, places of the same kind in one line."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for finding in report.findings:
        outcome = finding.done or f"left alone: {finding.why}"
        kinds.setdefault((finding.found, outcome), []).append(finding.path or "(the network)")
    columns = [name("found"), number("places"), prose(), name("such as", drop=1)]
    rows: list[list[Cell]] = [
        [found, str(len(paths)), outcome, paths[0]] for (found, outcome), paths in kinds.items()
    ]
    show(f"{report.title}: {len(report.changed)} places changed", style="bold")
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
