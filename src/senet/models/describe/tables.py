"""Summaries of networks as tables for the terminal, in the manner of Table 1 of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from rich import box
from rich.table import Table
from rich.text import Text

from senet.known import count
from senet.models.describe.summary import Blocks, Stage, Summary


def tables(
    summaries: Sequence[Summary], times: Sequence[float] | None, width: int
) -> Iterator[Table]:
    """Yield the networks side by side as in Table 1 of the paper, with their costs below.

    Args:
        summaries: the networks.
        times: milliseconds for one image in each network, see
            :func:`~senet.models.describe.cost.image_ms`; ``None`` leaves that row out.
        width: width of the terminal in characters; networks that do not fit beside the others get
            a table of their own.
    """
    labels, columns = _columns(summaries, times)
    room = width - _width(labels) - 1
    while columns:
        beside = 1  # one network is shown whatever the width
        while beside < len(columns) and sum(map(_width, columns[: beside + 1])) <= room:
            beside += 1
        yield _table(labels, columns[:beside])
        columns = columns[beside:]


def _table(labels: list[Text], columns: list[list[Text]]) -> Table:
    table = Table(box=box.ROUNDED, show_lines=True, border_style="dim")
    table.add_column(labels[0], no_wrap=True)
    for column in columns:
        table.add_column(column[0], no_wrap=True, vertical="middle")
    for cells in zip(labels[1:], *(column[1:] for column in columns), strict=True):
        table.add_row(*cells)
    return table


def _columns(
    summaries: Sequence[Summary], times: Sequence[float] | None
) -> tuple[list[Text], list[list[Text]]]:
    """Return the label of each row, and the cells of each network, headers first."""
    labels, columns = [Text("stage")], [[_header(summary)] for summary in summaries]
    by_name = [{stage.name: stage for stage in summary.stages} for summary in summaries]
    names = _merged(by_name)
    rows = [[stages.get(name) for stages in by_name] for name in names]
    # Where the networks agree, a row shows the size of the output once, as in the paper.
    shared = all(len({stage.output for stage in row if stage}) == 1 for row in rows)
    for row in rows:
        labels.append(_stage_label([stage for stage in row if stage], shared))
        for column, stage in zip(columns, row, strict=True):
            column.append(_cell(stage, shared) if stage else Text(""))
    labels.append(Text.assemble("parameters", ("\nin SE", "dim")))
    labels.append(Text.assemble("multiply-adds", ("\nin SE", "dim")))
    for column, summary in zip(columns, summaries, strict=True):
        column.append(_share(*summary.parameters, "{:,}".format))
        column.append(_share(*summary.multiply_adds, count))
    if times is not None:
        threads = torch.get_num_threads()
        here = f"\nCPU, {threads} thread{'s' * (threads > 1)}"
        labels.append(Text.assemble("time per image", (here, "dim")))
        for column, milliseconds in zip(columns, times, strict=True):
            column.append(Text(f"{milliseconds:.1f} ms"))
    return labels, columns


def _merged(orders: Iterable[Iterable[str]]) -> list[str]:
    """Return all names, in the order of each network; a new name follows its predecessor."""
    merged: list[str] = []
    for names in orders:
        place = 0
        for name in names:
            if name not in merged:
                merged.insert(place, name)
            place = merged.index(name) + 1
    return merged


def _header(summary: Summary) -> Text:
    channels, height, width = summary.input_shape
    return Text.assemble(
        (summary.name, "bold"), (f"\n{channels} × {height} × {width}", "not bold dim")
    )


def _stage_label(row: Sequence[Stage], shared: bool) -> Text:
    label = Text(row[0].name)
    if shared:
        label.append(f"\n{_size(row[0])}")
    modules = {stage.module for stage in row}
    if len(modules) == 1 and row[0].module != row[0].name:
        label.append(f"\n{row[0].module}", "dim")
    return label


def _cell(stage: Stage, shared: bool) -> Text:
    lines = [] if shared else [Text(_size(stage), "dim")]
    lines += [Text(words) for words in stage.opening]
    for blocks in stage.blocks:
        lines += _bracket(blocks)
    return Text("\n").join(lines)


def _size(stage: Stage) -> str:
    return f"{stage.output[0]} × {stage.output[1]}"


def _bracket(blocks: Blocks) -> list[Text]:
    """Return the layers in tall brackets, SE in colour, with the repeats beside the middle.

    A single layer has no brackets, unless it is repeated.
    """
    wide = max(map(len, blocks.layers))
    last = len(blocks.layers) - 1
    if last == 0 and blocks.repeats == 1:
        return [_coloured(blocks.layers[0])]
    lines = []
    for i, words in enumerate(blocks.layers):
        left, right = ("⎡", "⎤") if i == 0 else ("⎣", "⎦") if i == last else ("⎢", "⎥")
        if last == 0:
            left, right = "[", "]"
        line = Text.assemble(f"{left} ", _coloured(words.ljust(wide)), f" {right}")
        if i == last // 2:
            line.append(f" × {blocks.repeats}")
        lines.append(line)
    return lines


def _coloured(words: str) -> Text:
    """Colour the attention in a line: SE's two layers, or the name of another class."""
    text = Text(words)
    text.highlight_regex(r"fc, \[.*|[A-Z]\w{2,}", "cyan")
    return text


def _share(total: int, se: int, write: Callable[[int], str]) -> Text:
    if se == 0:
        return Text.assemble(write(total), ("\n—", "dim"))
    percent = 100 * se / total
    share = f"{percent:.2f} %" if percent >= 0.01 else "< 0.01 %"
    return Text.assemble(write(total), (f"\n{write(se)} ({share})", "dim"))


def _width(column: list[Text]) -> int:
    """Return the width of a column of a table, with its padding and one border."""
    return max(line.cell_len for cell in column for line in cell.split("\n")) + 3
