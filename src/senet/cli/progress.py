"""The bar of a command that goes through many images or batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def watched(
    what: Iterable[T],
    total: int | None,
    description: str,
    *,
    unit: str = "images",
    silent: bool = False,
) -> Iterator[T]:
    """Yield from an iterable, with a bar on a terminal: how many there were, and how many a second.

    Args:
        what: the iterable.
        total: how many there will be; ``None`` if nobody knows.
        description: what is done with it.
        unit: what they are; empty to leave out how many a second.
        silent: show nothing.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True)
    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate)
    with Progress(
        *columns,
        Remaining(),
        console=console,
        transient=True,
        disable=silent or not console.is_terminal,
    ) as bar:
        task = bar.add_task(description, total=total, rate="")
        for one in what:
            yield one
            speed = bar.tasks[task].speed
            bar.update(task, advance=1, rate=f"{speed:,.0f} {unit}/s" if speed and unit else "")
