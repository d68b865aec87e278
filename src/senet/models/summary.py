"""Networks as tables: one by one as in Table 1 of the paper, and all of them with their costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from rich import box
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from senet.known import count
from senet.models import cost
from senet.models.network import Network
from senet.nn import Attention, SqueezeExcitation


@dataclass(frozen=True)
class Blocks:
    """Layers that follow each other, and how often they are repeated: a bracket of Table 1.

    Branches that stand side by side have a line each, ``├ 1×1, 64 → 3×3, 96``; where one of them
    forks again, it ends in ``1×3, 384 | 3×1, 384``.
    """

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
        blocks: the blocks, equal neighbours taken together.
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
    """A layer as it ran: its path in the network, its words, the size of its output.

    ``branches`` are the paths of the branches that it is in, the outer ones first.
    """

    path: str
    words: str
    output: tuple[int, int]
    branches: tuple[str, ...]


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


_SHOWN = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.Linear, Attention)


def _layers(model: Network, input_shape: tuple[int, int, int]) -> list[_Layer]:
    """The layers with something to learn, and the pools, in the order in which they run.

    Projections of the shortcuts are left out, as in the paper.
    """
    taken, ran, last = _run(model, input_shape)
    branches = _branches(taken, [path for path, _, _ in ran])
    layers = []
    for path, module, output in ran:
        if isinstance(module, nn.Linear):
            pooled = module.in_features == last.shape[1]
            words, size = _head(path, module, pooled), (1, 1)
        else:
            # In stages the size of the map tells the stride.
            words = _words(module, strided=path.split(".")[0] not in model.stages)
            size = (output.shape[2], output.shape[3])
        around = tuple(branch for branch in branches if _within(path, branch))
        layers.append(_Layer(path, words, size, around))
    return layers


def _run(
    model: Network, input_shape: tuple[int, int, int]
) -> tuple[list[tuple[str, Tensor]], list[tuple[str, nn.Module, Tensor]], Tensor]:
    """The modules as they were called, by their paths, on the meta device.

    Returns:
        The map that each module took; the output of each layer that is shown; and the last map.
        All maps are kept, so that no two of them have the same ``id``.
    """
    copy = deepcopy(model).eval().to("meta")
    taken: list[tuple[str, Tensor]] = []
    ran: list[tuple[str, nn.Module, Tensor]] = []

    def before(path: str, _module: nn.Module, inputs: tuple[Tensor]) -> None:
        taken.append((path, inputs[0]))

    def after(path: str, module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> None:
        ran.append((path, module, output))

    attention = [block for block in copy.modules() if isinstance(block, Attention)]
    inside = {module for block in attention for module in block.modules() if module is not block}
    for path, module in copy.named_modules():
        if not path or module in inside or "downsample" in path:
            continue
        if not isinstance(module, Attention):  # which may look at a map, but is no way for it
            module.register_forward_pre_hook(partial(before, path))
        if isinstance(module, _SHOWN):
            module.register_forward_hook(partial(after, path))
    with torch.no_grad():
        try:
            last = copy.forward_features(torch.empty(1, *input_shape, device="meta"))
            copy.classify(last)
        except RuntimeError as error:  # of PyTorch: a map has shrunk to nothing
            raise ValueError(
                f"images of {input_shape[1]}×{input_shape[2]} are too small for this network "
                f"({str(error).splitlines()[0]})"
            ) from error
    return taken, ran, last


def _branches(taken: Iterable[tuple[str, Tensor]], shown: Iterable[str]) -> list[str]:
    """Paths of the modules that take the same map as others beside them, the outer ones first.

    Args:
        taken: the path of each module, and the map that it took.
        shown: the paths of the layers that are shown; a module without any is no branch.
    """
    beside: dict[tuple[str, int], list[str]] = defaultdict(list)
    for path, x in taken:
        if any(_within(layer, path) for layer in shown):
            beside[path.rpartition(".")[0], id(x)].append(path)
    return sorted(path for paths in beside.values() if len(paths) > 1 for path in paths)


def _within(path: str, module: str) -> bool:
    return f"{path}.".startswith(f"{module}.")


def _words(module: nn.Module, strided: bool) -> str:
    """A layer in the words of Table 1, what is unusual added; a convolution's stride if asked."""
    match module:
        case nn.Conv2d():
            words = f"conv, {_window(module.kernel_size)}, {module.out_channels}"
            if module.groups > 1:
                depthwise = module.groups == module.in_channels
                words += ", depthwise" if depthwise else f", C = {module.groups}"
            return words + _stride(module.stride) * strided
        case nn.MaxPool2d():
            return f"max pool, {_window(module.kernel_size)}{_stride(module.stride)}"
        case nn.AvgPool2d():
            return f"average pool, {_window(module.kernel_size)}{_stride(module.stride)}"
        case SqueezeExcitation():
            unusual = [f"squeeze {module.squeeze}"] * (module.squeeze != "avg")
            unusual += [f"gate {module.gate_name}"] * (module.gate_name != "sigmoid")
            sizes = f"fc, [{module.fc1.out_channels}, {module.fc2.out_channels}]"
            return ", ".join([sizes, *unusual])
        case Attention():
            return type(module).__name__
    raise AssertionError(module)


def _head(path: str, layer: nn.Linear, pooled: bool) -> str:
    pool = "global average pool\n" if pooled else ""
    return f"{pool}{layer.out_features}-d fc{', softmax' if path == 'fc' else ''}"


def _window(size: int | tuple[int, ...]) -> str:
    height, width = (size, size) if isinstance(size, int) else size
    return f"{height}×{width}"


def _stride(stride: int | tuple[int, ...]) -> str:
    side = stride if isinstance(stride, int) else stride[0]
    return f", stride {side}" if side > 1 else ""


def _stages(model: Network, layers: list[_Layer]) -> Iterator[Stage]:
    """A row for each module of the network; a pool outside the stages opens the row after it."""
    opening: tuple[str, ...] = ()
    for i, (module, found) in enumerate(groupby(layers, lambda layer: layer.path.split(".")[0])):
        row = list(found)
        if isinstance(model.get_submodule(module), nn.MaxPool2d):
            opening = (row[0].words,)
            continue
        name = module if i else "conv1"
        if module in model.stages:
            name = f"conv{model.stages.index(module) + 2}_x"
        blocks: tuple[Blocks, ...] = ()
        if module in model.stages or len(row) > 1:
            blocks = tuple(_blocks(row))
        else:
            opening = (*opening, row[0].words)
        yield Stage(name, module, row[-1].output, opening, blocks)
        opening = ()


def _blocks(row: list[_Layer]) -> Iterator[Blocks]:
    """The children of a stage, ``layer1.0``, ``layer1.1`` …, neighbours of equal layers counted."""
    children = groupby(row, lambda layer: layer.path.split(".")[1:2])
    each = [tuple(_lines(list(block))) for _, block in children]
    for layers, equal in groupby(each):
        yield Blocks(layers, len(list(equal)))


def _lines(block: list[_Layer]) -> Iterator[str]:
    """A line for each layer, or for each branch where branches stand side by side."""
    for branch, layers in groupby(block, lambda layer: layer.branches[:1]):
        if branch:
            yield _branch(list(layers))
        else:
            yield from (layer.words for layer in layers)


def _branch(layers: list[_Layer]) -> str:
    line = ""
    for i, layer in enumerate(layers):
        if i > 0:
            inner, before = layer.branches[1:], layers[i - 1].branches[1:]
            line += " | " if inner and before and inner != before else " → "
        line += layer.words.removeprefix("conv, ")
    return f"├ {line}"


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
    names = _merged(by_name)
    rows = [[stages.get(name) for stages in by_name] for name in names]
    # The size of the output is said once a row where the networks agree, as in the paper.
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
    """All names, in the order of each network; what one alone has follows what comes before it."""
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
    """The layers in tall brackets, SE's in colour, and × how often beside the middle.

    A layer alone stands without them, unless it is repeated.
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
    """Attention in colour: SE's two layers, or the name of another class."""
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
    """Of a column of a table, with its padding and one border."""
    return max(line.cell_len for cell in column for line in cell.split("\n")) + 3
