"""Printing of text and tables.

A table is fitted to the width of the terminal: columns without room are left out, the least
important first, and a line says so. Cells are never cut, and only columns of prose are wrapped,
between words: names, addresses and commands can be copied whole. A line that is still too long is
left to the terminal to wrap.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

# --- text -----------------------------------------------------------------------------------------


def say(what: str, message: str) -> None:
    """Print a message on standard error, unwrapped: paths and commands in it stay whole."""
    from rich.console import Console
    from rich.text import Text

    style = "bold yellow" if what == "warning" else "bold red"
    text = Text.assemble((what and f"{what}: ", style), message)
    Console(stderr=True).print(text, soft_wrap=True)


def show(*what: Any, style: str = "") -> None:
    """Print text as it is: brackets in the name of a folder are not markup."""
    from rich.console import Console

    console = Console(highlight=False)
    for one in what:
        console.print(one, style=style, markup=False, soft_wrap=isinstance(one, str))


def width() -> int:
    """Return the width of the terminal in characters."""
    from rich.console import Console

    return Console().width


def show_json(values: Mapping[str, Any]) -> None:
    """Print values as JSON, for programs."""
    import json

    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    write_result(text.encode("utf-8", "backslashreplace"))


def write_result(content: bytes) -> None:
    """Write output for programs: UTF-8, whatever the terminal uses."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def suggest(*commands: tuple[str, str]) -> None:
    """Print commands, each with its purpose beside it, or above it if the line would be too long.

    Commands are never wrapped, so that they can be copied.
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
def working(what: str) -> Iterator[None]:
    """Show on a terminal that something takes a while."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else nullcontext():
        yield


# --- tables ---------------------------------------------------------------------------------------

GAP = 2
Cell = str | tuple[str, str]
"""A text, or a text and its style."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its title, of one or two lines.
        number: whether it is right-aligned.
        drop: 0 for a column that is always shown; of the others, the highest is left out first.
        prose: whether its cells may be wrapped between words.
        style: style of its cells.
        least: its least width, so that tables below each other are aligned.
    """

    title: str = ""
    number: bool = False
    drop: int = 0
    prose: bool = False
    style: str = ""
    least: int = 0


def name(title: str, **more: Any) -> Column:
    """Return a column of names, left-aligned."""
    return Column(title, **more)


def number(title: str, drop: int = 0, **more: Any) -> Column:
    """Return a column of numbers, right-aligned."""
    return Column(title, number=True, drop=drop, **more)


def prose(title: str = "", **more: Any) -> Column:
    """Return a column of sentences, wrapped between words."""
    return Column(title, prose=True, **more)


def show_table(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], title: str = "", more: str = ""
) -> list[str]:
    """Print a table as wide as the terminal allows.

    A single row that is too wide is printed as a list of titles and cells instead, complete.

    Args:
        columns: one for each cell of a row.
        rows: the cells, row by row.
        title: title of the table.
        more: a command that shows the columns that are left out; without it, none is suggested.

    Returns:
        the titles of the columns that were left out.
    """
    from rich.console import Console

    console = Console(highlight=False)
    kept = fitting(columns, rows, console.width)
    left_out = [c.title for i, c in enumerate(columns) if i not in kept]
    if title:
        show(title, style="bold")
    if left_out and len(rows) == 1:
        show_details([(c.title, cell) for c, cell in zip(columns, rows[0], strict=True)])
        return []
    columns = [columns[i] for i in kept]
    for line in _lines(columns, [[row[i] for i in kept] for row in rows], console.width):
        console.print(line, soft_wrap=True)
    if left_out and more:
        show_left_out(left_out, more)
    return left_out


def show_left_out(titles: Iterable[str], more: str) -> None:
    """Print which columns there was no room for, and which command shows them."""
    titles = [title.replace("\n", " ") for title in dict.fromkeys(titles)]
    if titles:
        show(f"No room for: {', '.join(titles)}.\nTo see all: {more}", style="dim")


def show_details(facts: Iterable[tuple[str, Cell]]) -> None:
    """Print facts one below the other, each whole, without empty ones."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    facts = [(title.replace("\n", " "), _plain(cell)) for title, cell in facts if _plain(cell)]
    wide = max((len(title) for title, _ in facts), default=0)
    for title, text in facts:
        line = Text.assemble((f"{title:{wide}}", "dim"), " " * GAP, text)
        console.print(line, soft_wrap=True)


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """Return the columns for which a terminal of this width has room.

    Example:
        >>> columns = [Column("name"), Column("source", drop=2), Column("size", drop=1)]
        >>> rows = [["resnet50", "https://example.org/resnet50.pth", "224"]]
        >>> fitting(columns, rows, 80), fitting(columns, rows, 20), fitting(columns, rows, 5)
        ([0, 1, 2], [0, 2], [0])
    """
    kept = list(range(len(columns)))
    least = {i: _least(columns[i], [row[i] for row in rows]) for i in kept}
    while sum(least[i] + GAP for i in kept) - GAP > width:
        droppable = [i for i in kept if columns[i].drop]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda i: columns[i].drop))
    return kept


def _plain(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _widest(texts: Iterable[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, texts), default=0)


def _least(column: Column, cells: Sequence[Cell]) -> int:
    """Return the width below which a cell would have to be cut."""
    split = str.split if column.prose else str.splitlines
    pieces = (piece for cell in cells for piece in split(_plain(cell)))
    return max(column.least, _widest(column.title.splitlines()), _widest(pieces))


def _lines(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> Iterator[Text]:
    """Lay a table out, line by line."""
    widths = [
        _least(column, [] if column.prose else [row[i] for row in rows])
        for i, column in enumerate(columns)
    ]
    for i, column in enumerate(columns):
        if column.prose:  # it gets the width that the others leave
            room = width - sum(w + GAP for w in widths) + GAP + widths[i]
            wanted = _widest(_plain(row[i]) for row in rows)
            widths[i] = max(widths[i], min(wanted, room))
    titles = [column.title.splitlines() for column in columns]
    high = max(map(len, titles), default=0)
    for k in range(high):
        head = [[""] * (high - len(lines)) + lines for lines in titles]
        yield _line(columns, widths, [(lines[k], "dim") for lines in head])
    for row in rows:
        cells = [
            _broken(column, w, cell) for column, w, cell in zip(columns, widths, row, strict=True)
        ]
        for k in range(max(map(len, cells))):
            yield _line(columns, widths, [lines[k] if k < len(lines) else "" for lines in cells])


def _broken(column: Column, width: int, cell: Cell) -> list[Cell]:
    """Wrap prose between words."""
    text, style = (cell, column.style) if isinstance(cell, str) else cell
    if column.prose:
        lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    else:
        lines = text.splitlines()
    return [(line, style) for line in lines or [""]]


def _line(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[Cell]) -> Text:
    """Put cells side by side, without trailing blanks."""
    from rich.cells import cell_len
    from rich.text import Text

    line = Text()
    for i, (column, width, cell) in enumerate(zip(columns, widths, cells, strict=True)):
        text, style = (cell, "") if isinstance(cell, str) else cell
        blank = " " * (width - cell_len(text))
        line.append(" " * GAP * bool(i))
        line.append(blank if column.number else "")
        line.append(text, style)
        line.append("" if column.number else blank)
    line.rstrip()
    return line
