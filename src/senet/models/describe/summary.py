"""The structure of a network, stage by stage, as in Table 1 of the paper."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn

from senet.models.describe import cost
from senet.models.network import Network
from senet.nn import ChannelAttention, SqueezeExcitation


@dataclass(frozen=True)
class Blocks:
    """Successive layers, and how often they are repeated: a bracket of Table 1.

    Parallel branches have a line each, ``├ 1×1, 64 → 3×3, 96``; a branch that forks again ends in
    ``1×3, 384 | 3×1, 384``.
    """

    layers: tuple[str, ...]
    repeats: int


@dataclass(frozen=True)
class Stage:
    """A row of Table 1.

    Attributes:
        name: name in the paper on residual networks: ``conv1``, ``conv2_x`` …
        module: name of the module in the network: ``layer1``.
        output: height and width of the stage's output.
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
    """The structure of a network, and its costs.

    Attributes:
        name: name of the network.
        input_shape: ``(channels, height, width)`` of the image that all figures are for.
        stages: the rows of its Table 1.
        parameters: number of all parameters, and of those in SE blocks.
        multiply_adds: multiply-adds for one image, likewise.
    """

    name: str
    input_shape: tuple[int, int, int]
    stages: tuple[Stage, ...]
    parameters: tuple[int, int]
    multiply_adds: tuple[int, int]


@dataclass(frozen=True)
class _Layer:
    """A layer as it ran: its path in the network, its description, the size of its output.

    ``branches`` are the paths of the branches that it is in, the outer ones first.
    """

    path: str
    words: str
    output: tuple[int, int]
    branches: tuple[str, ...]


def summarise(model: Network, input_shape: tuple[int, int, int]) -> Summary:
    """Return the structure and the costs of ``model``, from a run on the meta device.

    Args:
        model: a network of the registry; it is left unchanged.
        input_shape: ``(channels, height, width)`` of one image.

    Raises:
        ValueError: if the image is too small for the network, or has another number of channels.

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


_SHOWN = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.Linear, ChannelAttention)


def _layers(model: Network, input_shape: tuple[int, int, int]) -> list[_Layer]:
    """Return the layers with parameters, and the poolings, in the order in which they run.

    Projections on shortcuts are left out, as in the paper.
    """
    taken, ran, last = _run(model, input_shape)
    branches = _branches(taken, [path for path, _, _ in ran])
    layers = []
    for path, module, output in ran:
        if isinstance(module, nn.Linear):
            pooled = module.in_features == last.shape[1]
            words, size = _head(path, module, pooled), (1, 1)
        else:
            # In a stage the size of the feature map shows the stride.
            words = _words(module, strided=path.split(".")[0] not in model.stages)
            size = (output.shape[2], output.shape[3])
        around = tuple(branch for branch in branches if _within(path, branch))
        layers.append(_Layer(path, words, size, around))
    return layers


def _run(
    model: Network, input_shape: tuple[int, int, int]
) -> tuple[list[tuple[str, Tensor]], list[tuple[str, nn.Module, Tensor]], Tensor]:
    """Run the network on the meta device, and return its modules as they were called.

    Returns:
        The feature map that each module took; the output of each layer that is shown; and the last
        map. All maps are kept, so that no two of them have the same ``id``.
    """
    copy = deepcopy(model).eval().to("meta")
    taken: list[tuple[str, Tensor]] = []
    ran: list[tuple[str, nn.Module, Tensor]] = []

    def before(path: str, _module: nn.Module, inputs: tuple[Tensor]) -> None:
        taken.append((path, inputs[0]))

    def after(path: str, module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> None:
        ran.append((path, module, output))

    attention = [block for block in copy.modules() if isinstance(block, ChannelAttention)]
    inside = {module for block in attention for module in block.modules() if module is not block}
    for path, module in copy.named_modules():
        if not path or module in inside or "downsample" in path:
            continue
        # A block of attention looks at maps that it does not pass on.
        if not isinstance(module, ChannelAttention):
            module.register_forward_pre_hook(partial(before, path))
        if isinstance(module, _SHOWN):
            module.register_forward_hook(partial(after, path))
    with torch.no_grad():
        try:
            last = copy.forward_features(torch.empty(1, *input_shape, device="meta"))
            copy.classify(last)
        except RuntimeError as error:  # PyTorch's: a map has shrunk to nothing
            raise ValueError(
                f"images of {input_shape[1]}×{input_shape[2]} are too small for this network "
                f"({str(error).splitlines()[0]})"
            ) from error
    return taken, ran, last


def _branches(taken: Iterable[tuple[str, Tensor]], shown: Iterable[str]) -> list[str]:
    """Return the paths of modules that take the same map as their neighbours, the outer ones first.

    Args:
        taken: the path of each module, and the map that it took.
        shown: the paths of the layers that are shown; a module without any is not a branch.
    """
    beside: dict[tuple[str, int], list[str]] = defaultdict(list)
    for path, x in taken:
        if any(_within(layer, path) for layer in shown):
            beside[path.rpartition(".")[0], id(x)].append(path)
    return sorted(path for paths in beside.values() if len(paths) > 1 for path in paths)


def _within(path: str, module: str) -> bool:
    return f"{path}.".startswith(f"{module}.")


def _words(module: nn.Module, strided: bool) -> str:
    """Describe a layer in the words of Table 1, with what is unusual; the stride if asked."""
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
        case ChannelAttention():
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
    """Yield a row for each module; a pooling outside the stages opens the row after it."""
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
    """Yield the children of a stage, ``layer1.0``, ``layer1.1`` …, equal neighbours only once."""
    children = groupby(row, lambda layer: layer.path.split(".")[1:2])
    each = [tuple(_lines(list(block))) for _, block in children]
    for layers, equal in groupby(each):
        yield Blocks(layers, len(list(equal)))


def _lines(block: list[_Layer]) -> Iterator[str]:
    """Yield a line for each layer, or for each branch where branches are parallel."""
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
