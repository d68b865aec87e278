"""Networks as tables: one by one as in Table 1 of the paper, and all of them with their costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from rich import box
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from senet.models import cost
from senet.models.network import Network
from senet.models.registry import create_model, entry
from senet.nn import SqueezeExcitation


@dataclass(frozen=True)
class Blocks:
    """Layers that follow each other, and how often they are repeated: a bracket of Table 1."""

    layers: tuple[str, ...]
    repeats: int


@dataclass(frozen=True)
class Stage:
    """A row of Table 1.

    Attributes:
        name: of the paper on residual networks: ``conv1``, ``conv2_x`` …
        module: of the network, where that has another name: ``layer1``.
        output: height and width of the map that leaves the stage.
        opening: layers before the blocks, such as the stem's pooling.
        blocks: the residual blocks, equal neighbours taken together.
    """

    name: str
    module: str
    output: tuple[int, int]
    opening: tuple[str, ...]
    blocks: tuple[Blocks, ...]


@dataclass(frozen=True)
class Summary:
    """What a network is made of, and what it costs.

    Attributes:
        name: of the network.
        input_shape: ``(channels, height, width)`` of the image that all figures are for.
        stages: the rows of its Table 1.
        parameters: all, and of those the ones in SE blocks.
        multiply_adds: of one image, likewise.
    """

    name: str
    input_shape: tuple[int, int, int]
    stages: tuple[Stage, ...]
    parameters: tuple[int, int]
    multiply_adds: tuple[int, int]


@dataclass(frozen=True)
class _Layer:
    """A layer as it ran: its path in the network, its words, the size of its output."""

    path: str
    words: str
    output: tuple[int, int]


def summarise(model: Network, input_shape: tuple[int, int, int]) -> Summary:
    """What ``model`` is made of and costs, seen by running it on the meta device.

    Args:
        model: a network of the registry; it is left as it was.
        input_shape: ``(channels, height, width)`` of one image.

    Raises:
        ValueError: if the image is too small for the network, or of other channels.

    Example:
        >>> from senet import create_model
        >>> summary = summarise(create_model("se_resnet50"), (3, 224, 224))
        >>> summary.stages[1].name, summary.stages[1].output
        ('conv2_x', (56, 56))
        >>> summary.stages[1].blocks[0].layers
        ('conv, 1×1, 64', 'conv, 3×3, 64', 'conv, 1×1, 256', 'fc, [16, 256]')
    """
    if input_shape[0] != model.architecture.in_channels:
        raise ValueError(
            f"{model.architecture.name} takes images of {model.architecture.in_channels} "
            f"channels, got input_shape={input_shape}"
        )
    return Summary(
        model.architecture.name,
        input_shape,
        tuple(_stages(model, _layers(model, input_shape))),
        cost.parameters(model),
        cost.multiply_adds(model, input_shape),
    )


def image_ms(models: Sequence[tuple[nn.Module, tuple[int, int, int]]], repeats: int) -> list[float]:
    """Milliseconds that each network takes for one image, forward, in evaluation, on the CPU.

    Args:
        models: networks, each with its ``(channels, height, width)``; they are left as they were.
        repeats: rounds in which the networks take turns; of these the median.
    """
    calls = {}
    for i, (model, shape) in enumerate(models):
        image = torch.randn(1, *shape).contiguous(memory_format=torch.channels_last)
        network = deepcopy(model).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        calls[str(i)] = partial(network, image)
    with torch.inference_mode():
        return list(cost.in_turn(calls, repeats).values())


def _layers(model: nn.Module, input_shape: tuple[int, int, int]) -> list[_Layer]:
    """The layers with something to learn, and the pools, in the order in which they run.

    Projections of the shortcuts are left out, as in the paper.
    """
    ran: list[_Layer] = []
    copy = deepcopy(model).eval().to("meta")

    def note(path: str, module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> None:
        height, width = output.shape[2:] if output.dim() == 4 else (1, 1)
        ran.append(_Layer(path, _words(module), (height, width)))

    se_paths = [p for p, m in copy.named_modules() if isinstance(m, SqueezeExcitation)]
    for path, module in copy.named_modules():
        inside_se = any(path.startswith(f"{se}.") for se in se_paths)
        if isinstance(module, _SHOWN) and "downsample" not in path and not inside_se:
            module.register_forward_hook(partial(note, path))
    with torch.no_grad():
        try:
            copy(torch.empty(1, *input_shape, device="meta"))
        except RuntimeError as error:  # of PyTorch: a map has shrunk to nothing
            raise ValueError(
                f"images of {input_shape[1]}×{input_shape[2]} are too small for this network "
                f"({str(error).splitlines()[0]})"
            ) from error
    return ran


_SHOWN = (nn.Conv2d, nn.MaxPool2d, nn.Linear, SqueezeExcitation)


def _words(module: nn.Module) -> str:
    """A layer in the words of Table 1, what is unusual added."""
    match module:
        case nn.Conv2d():
            words = f"conv, {_square(module.kernel_size)}, {module.out_channels}"
            return words if module.groups == 1 else f"{words}, C = {module.groups}"
        case nn.MaxPool2d():
            return f"max pool, {_square(module.kernel_size)}, stride {_side(module.stride)}"
        case nn.Linear():
            return f"global average pool\n{module.out_features}-d fc, softmax"
        case SqueezeExcitation():
            unusual = [f"squeeze {module.squeeze}"] * (module.squeeze != "avg")
            unusual += [f"gate {module.gate_name}"] * (module.gate_name != "sigmoid")
            sizes = f"fc, [{module.fc1.out_channels}, {module.fc2.out_channels}]"
            return ", ".join([sizes, *unusual])
    raise AssertionError(module)


def _square(size: int | tuple[int, ...]) -> str:
    return f"{_side(size)}×{_side(size)}"


def _side(size: int | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else size[0]


def _stages(model: nn.Module, layers: list[_Layer]) -> Iterator[Stage]:
    """The rows: one a stage of blocks, one a layer outside them; a pool opens the row after it."""
    stages: list[str] = getattr(model, "stages", [])
    opening: tuple[str, ...] = ()
    for module, found in groupby(layers, lambda layer: layer.path.split(".")[0]):
        row = list(found)
        output = row[-1].output
        if module in stages:
            name = f"conv{stages.index(module) + 2}_x"
            yield Stage(name, module, output, opening, tuple(_blocks(row)))
            opening = ()
        elif isinstance(stem := model.get_submodule(module), nn.MaxPool2d):
            opening = (row[0].words,)
        else:
            words = row[0].words
            if isinstance(stem, nn.Conv2d) and _side(stem.stride) > 1:
                words = f"{words}, stride {_side(stem.stride)}"
            yield Stage(module, module, output, (words,), ())


def _blocks(row: list[_Layer]) -> Iterator[Blocks]:
    """Residual blocks, ``layer1.0``, ``layer1.1`` …, neighbours of equal layers counted."""
    each = [
        tuple(layer.words for layer in block)
        for _, block in groupby(row, lambda layer: layer.path.split(".")[1])
    ]
    for layers, equal in groupby(each):
        yield Blocks(layers, len(list(equal)))


# ---------------------------------------------------------------------------- as rich's tables


def tables(
    summaries: Sequence[Summary], times: Sequence[float] | None, width: int
) -> Iterator[Table]:
    """The paper's Table 1, the networks side by side; below it what they cost.

    Args:
        summaries: the networks.
        times: milliseconds an image of each, see :func:`image_ms`; ``None`` leaves that row out.
        width: of the terminal, in characters; what does not fit beside the others gets a table of
            its own.
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
    """The label of each row, and the cells of each network, headers first."""
    labels, columns = [Text("stage")], [[_header(summary)] for summary in summaries]
    by_name = [{stage.name: stage for stage in summary.stages} for summary in summaries]
    # The head comes last, also where one network has more stages than another.
    names = sorted({name for stages in by_name for name in stages}, key=lambda n: (n == "fc", n))
    rows = [[stages.get(name) for stages in by_name] for name in names]
    # The size of the output is said once a row where the networks agree, as in the paper.
    shared = all(len({stage.output for stage in row if stage}) == 1 for row in rows)
    for row in rows:
        labels.append(_stage_label(next(filter(None, row)), shared))
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


def _header(summary: Summary) -> Text:
    channels, height, width = summary.input_shape
    return Text.assemble(
        (summary.name, "bold"), (f"\n{channels} × {height} × {width}", "not bold dim")
    )


def _stage_label(stage: Stage, shared: bool) -> Text:
    label = Text(stage.name)
    if shared:
        label.append(f"\n{_size(stage)}")
    if stage.module != stage.name:
        label.append(f"\n{stage.module}", "dim")
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
    """The layers in tall brackets, SE's in colour, and × how often beside the middle."""
    wide = max(map(len, blocks.layers))
    last = len(blocks.layers) - 1
    lines = []
    for i, words in enumerate(blocks.layers):
        left, right = ("⎡", "⎤") if i == 0 else ("⎣", "⎦") if i == last else ("⎢", "⎥")
        line = Text.assemble(
            f"{left} ", (words.ljust(wide), "cyan" if words.startswith("fc") else ""), f" {right}"
        )
        if i == last // 2:
            line.append(f" × {blocks.repeats}")
        lines.append(line)
    return lines


def _share(total: int, se: int, write: Callable[[int], str]) -> Text:
    if se == 0:
        return Text.assemble(write(total), ("\n—", "dim"))
    percent = 100 * se / total
    share = f"{percent:.2f} %" if percent >= 0.01 else "< 0.01 %"
    return Text.assemble(write(total), (f"\n{write(se)} ({share})", "dim"))


def count(number: int) -> str:
    """A count to three digits, as papers print it.

    Example:
        >>> count(3_857_925_120), count(2_514_944), count(672)
        ('3.86 G', '2.51 M', '672')
    """
    for size, unit in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= size:
            whole = len(str(number // size))
            return f"{number / size:.{max(0, 3 - whole)}f}{unit}"
    return str(number)


def _width(column: list[Text]) -> int:
    """Of a column of a table, with its padding and one border."""
    return max(line.cell_len for cell in column for line in cell.split("\n")) + 3


def catalogue(names: Sequence[str]) -> Iterator[Table]:
    """The networks ``names`` with their costs and their twins, a table for each size of input.

    Example:
        >>> [table.row_count for table in catalogue(["resnet8_cifar", "se_resnet8_cifar"])]
        [2]
    """
    longest = max(map(len, [*names, *(entry(name).twin for name in names)]), default=0)
    for usual, group in groupby(sorted(names, key=_order), _usual):
        (channels, size, _), classes = usual
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.title_justify, table.title_style = "left", "bold"
        table.title = f"images of {channels} × {size} × {size}, {classes:,} classes"
        table.add_column("network", no_wrap=True, min_width=longest)
        table.add_column("parameters", justify="right", min_width=10)
        table.add_column("multiply-adds", justify="right")
        table.add_column("twin", style="dim", no_wrap=True, min_width=longest)
        for name in group:
            with torch.device("meta"):  # shapes are all that costs need
                model = create_model(name)
            adds = cost.multiply_adds(model, usual[0])[0]
            table.add_row(name, f"{cost.parameters(model)[0]:,}", count(adds), entry(name).twin)
        yield table


def _usual(name: str) -> tuple[tuple[int, int, int], int]:
    """The images and the number of classes that a network is known for."""
    found = entry(name)
    size = found.preprocessing.size
    return (found.preprocessing.channels, size, size), found.num_classes


def _order(name: str) -> tuple[int, list[str | int], bool]:
    """Large inputs first; then by depth, each network before its twin with SE."""
    found = entry(name)
    parts = re.split(r"(\d+)", found.plain or name)
    size = found.preprocessing.size
    return -size, [int(p) if p.isdigit() else p for p in parts], found.has_se
