"""Tables of the results of trainings and networks, and the columns that matter most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from senet import known
from senet.cli.show import Cell, Column, name, number, prose, say, show, show_table
from senet.counted import counted

if TYPE_CHECKING:
    from senet.analysis.subject import Subject
    from senet.analysis.variation import Row
    from senet.serving import Prediction

# --- figures --------------------------------------------------------------------------------------


def percent(*shares: float) -> str:
    """Return shares in percent, joined by ``…`` as the ends of an interval.

    Example:
        >>> percent(0.5), percent(0.5, 0.75)
        ('50.0', '50.0 … 75.0')
    """
    return " … ".join(f"{100 * share:.1f}" for share in shares)


def interval(right: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy."""
    from senet.paired import accuracy

    found = accuracy(right, images)
    return found.low, found.high


def accuracy(right: int, images: int) -> str:
    """Return an accuracy in words, with its interval."""
    low_high = percent(*interval(right, images))
    of = f"{right:,} of {counted(images, 'image')}"
    return f"{percent(right / images)} % (95 % interval {low_high}; {of})"


# --- trainings ------------------------------------------------------------------------------------


def show_comparison(folder: Path) -> str:
    """Print a comparison, and return what else its page shows."""
    from rich.text import Text

    from senet.analysis import statistics, variation
    from senet.analysis.subject import Subject
    from senet.runs.read import read

    subject = Subject.of(read(folder))
    show("")
    show_table(*_compared(subject), more=f"senet report {folder}")
    show("")
    if subject.variation:
        show(Text(variation.verdict(subject)), "", style="bold")
        return "All costs, and accuracy plotted against them"
    names = (subject.names[role] for role in ("plain", "se"))
    show(Text(statistics.verdict(subject.comparison, *names)), "", style="bold")
    return "Curves, costs, mistakes and gates"


def _compared(subject: Subject) -> tuple[list[Column], list[list[Cell]]]:
    """Return the columns and rows of a comparison."""
    from senet.analysis import variation

    varied = subject.variation
    seeds = len(subject.seeds)
    found = variation.rows(subject)
    unequal = any(row.balanced is not None for row in found)
    columns = [
        name(varied.option if varied else "network"),
        number("test\naccuracy"),
        number("95 %\ninterval" if seeds == 1 else f"std of\n{seeds} seeds", drop=2),
        *([number("balanced\naccuracy", drop=1)] if unequal else []),
        *([number("minus\nplain", drop=1), number("95 %\ninterval", drop=3)] if varied else []),
        number("params", drop=4),
        *([] if varied else [number("mult-adds", drop=6)]),
        number("ms a step", drop=5),
    ]
    return columns, [_compared_row(row, seeds, varied is not None, unequal) for row in found]


def _compared_row(row: Row, seeds: int, varied: bool, unequal: bool) -> list[Cell]:
    from senet import paired

    low, high = row.spread.low, row.spread.high
    difference = row.comparison and row.comparison.difference
    cells: list[Cell] = [
        row.label,
        f"{percent(row.accuracy)} %",
        percent(low, high) if seeds == 1 else f"± {percent((high - low) / 2)}",
    ]
    if unequal:
        cells.append("" if row.balanced is None else f"{percent(row.balanced)} %")
    if varied:
        cells.append(paired.signed(difference.value) if difference else "")
        cells.append(paired.interval(difference) if difference else "")
    cells.append(f"{row.cost['parameters']:,.0f}" if row.cost else "")
    if not varied:
        cells.append(known.count(int(row.cost["multiply_adds"])) if row.cost else "")
    return [*cells, f"{row.cost['step_ms']:.1f}" if row.cost else ""]


def show_evaluation(found: Mapping[str, Any]) -> None:
    """Print what `senet evaluate` found."""
    right = round(found["accuracy"] * found["images"])
    title = "accuracy" if found["split"] == "all" else f"{found['split']} accuracy"
    show(f"{title} {accuracy(right, found['images'])}", style="bold")
    if found.get("balanced_accuracy") is not None:
        show(f"balanced accuracy {percent(found['balanced_accuracy'])} %, each class counted alike")
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
        rest = counted(len(more), "more class", "more classes")
        rows.append([(rest, "dim"), "", ("no image", "dim")])
    show_table([name("class"), number("accuracy"), name("", drop=1)], rows)
    if new := found["new"]:
        right = round(new["accuracy"] * new["images"])
        show("", f"new since the training, not counted: {accuracy(right, new['images'])}")
    if found["seen"]:
        say(
            "warning",
            f"the network was trained on {found['seen']:,} of the "
            f"{counted(found['images'], 'image')}, so this says little about "
            "images that it has not seen",
        )


def say_asked(preprocessing: Mapping[str, Any]) -> None:
    """Say how images are taken, where a user has said it."""
    from senet.preprocessing import Preprocessing

    say("", f"images with {Preprocessing(**preprocessing)}, as --preprocessing says")


def show_predictions(answers: Sequence[Prediction]) -> None:
    """Print a row per image: class, probability, the next best ones, any error."""
    from senet.serving.formats import answer as said
    from senet.serving.formats import percent as probable

    more = max((len(answer.guesses) for answer in answers), default=0) > 1
    labelled = any(answer.label for answer in answers)
    failed = any(answer.error for answer in answers)
    columns = [
        name("file"),
        *([name("label", drop=1)] if labelled else []),
        name("class", style="bold"),
        number("probability"),
        *([name("next best", drop=2, style="dim")] if more else []),
        *([prose("error", style="red")] if failed else []),
    ]
    rows: list[list[Cell]] = []
    for answer in answers:
        best, *rest = answer.guesses or (("", 0.0),)
        label, probability = answer.label, probable(best[1]) if answer.guesses else ""
        cells: list[Cell] = [answer.name, *([label] if labelled else []), said(answer), probability]
        cells += ["\n".join(f"{guess} {probable(p)}" for guess, p in rest)] if more else []
        rows.append([*cells, answer.error] if failed else cells)
    show_table(columns, rows, more="the same with --format csv, or --out FILE.txt")
