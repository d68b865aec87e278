"""The costs of a network: parameters, multiply-adds, time; and SE's share of each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from senet.nn import ChannelAttention


def parameters(model: nn.Module) -> tuple[int, int]:
    """Return the number of learnable parameters: of the whole network, and of its SE blocks.

    Example:
        >>> from senet import create_model
        >>> parameters(create_model("se_resnet50"))
        (28088024, 2530992)
    """
    inside = sum(p.numel() for se in _blocks(model).values() for p in se.parameters())
    return sum(p.numel() for p in model.parameters()), inside


def multiply_adds(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the multiply-adds of one forward pass: of the whole network, and of its SE blocks.

    Convolutions and fully connected layers are counted, as in the paper's tables. Additions of the
    squeeze and products of the scale are elementwise and not counted, like those of batch norm and
    ReLU.

    Args:
        model: any network; it is left unchanged.
        input_shape: ``(channels, height, width)`` of one image.

    Example:
        >>> from senet import create_model
        >>> total, se = multiply_adds(create_model("se_resnet50", stride_on="1x1"), (3, 224, 224))
        >>> f"{total / 1e9:.2f} G, of which SE {se / total:.2%}"
        '3.86 G, of which SE 0.07%'
    """
    # On the meta device only shapes are computed.
    copy = deepcopy(model).eval().to("meta")
    image = torch.empty(1, *input_shape, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy(image)
    counts, root = counter.get_flop_counts(), type(copy).__name__
    blocks = (counts.get(f"{root}.{name}", {}) for name in _blocks(copy))  # gather-excite has none
    se = sum(sum(block.values()) for block in blocks)
    return counter.get_total_flops() // 2, se // 2


def measure(
    models: Mapping[str, nn.Module],
    input_shape: tuple[int, ...],
    batch_size: int,
    repeats: int = 7,
    ready: Callable[[str, nn.Module], object] | None = None,
) -> dict[str, dict[str, float]]:
    """Measure everything that networks cost, side by side.

    Times are medians over ``repeats`` rounds in which the networks take turns, so that other work
    of the machine slows all of them alike. The images are random; the networks are unchanged.

    Args:
        models: networks by name.
        input_shape: ``(channels, height, width)`` of one image.
        batch_size: images of a training step, and of the timed forward pass.
        ready: as for :func:`in_turn_times`.

    Returns:
        For every name ``parameters``, ``se_parameters``, ``multiply_adds``, ``se_multiply_adds``,
        ``step_ms`` (forward, backward and update in training) and ``image_ms`` (forward alone, in
        evaluation, per image of the batch), in milliseconds.
    """
    times = in_turn_times(models, input_shape, batch_size, repeats, ready)
    costs = {}
    for name, model in models.items():
        total, se = parameters(model)
        adds, se_adds = multiply_adds(model, input_shape)
        costs[name] = {
            "parameters": total,
            "se_parameters": se,
            "multiply_adds": adds,
            "se_multiply_adds": se_adds,
            "step_ms": times["training step"][name],
            "image_ms": times["inference"][name] / batch_size,
        }
    return costs


def in_turn_times(
    models: Mapping[str, nn.Module],
    input_shape: tuple[int, ...],
    batch_size: int,
    repeats: int = 7,
    ready: Callable[[str, nn.Module], object] | None = None,
) -> dict[str, dict[str, float]]:
    """Return the milliseconds of a ``training step`` and of ``inference`` of every network.

    Args:
        models: networks by name; they are left unchanged.
        input_shape: ``(channels, height, width)`` of one image.
        batch_size: number of images in both.
        repeats: number of rounds in which the networks take turns; the median counts.
        ready: a function that prepares a network for timing, such as :func:`senet.accelerate`;
            called with its name and the copy that is timed, which is plain.
    """
    images = torch.randn(batch_size, *input_shape).contiguous(memory_format=torch.channels_last)
    forms = {"training step": training_step, "inference": forward_pass}
    return {
        what: in_turn(
            {name: make(_copy(name, model, ready), images) for name, model in models.items()},
            repeats,
        )
        for what, make in forms.items()
    }


def _copy(
    name: str, model: nn.Module, ready: Callable[[str, nn.Module], object] | None
) -> nn.Module:
    copy = deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if ready is not None:
        ready(name, copy)
    return copy


def image_ms(models: Sequence[tuple[nn.Module, tuple[int, int, int]]], repeats: int) -> list[float]:
    """Return the milliseconds of a forward pass of one image, in evaluation on the CPU.

    Args:
        models: networks, each with its ``(channels, height, width)``; they are left unchanged.
        repeats: number of rounds in which the networks take turns; the median counts.
    """
    calls = {}
    for i, (model, shape) in enumerate(models):
        image = torch.randn(1, *shape).contiguous(memory_format=torch.channels_last)
        network = deepcopy(model).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        calls[str(i)] = partial(network, image)
    with torch.inference_mode():
        return list(in_turn(calls, repeats).values())


def in_turn(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median time of each call in milliseconds; the calls take turns.

    In each turn a call runs twice and the second run counts: the first one meets the memory and
    the caches as the other calls left them.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            call()
            start = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(taken) for name, taken in times.items()}


def training_step(model: nn.Module, images: Tensor) -> Callable[[], None]:
    """Return a call that trains ``model`` one step on ``images`` and leaves its weights alone."""
    model.train()
    # A learning rate of 0 takes the same time. A network that overfits its images gets denormal
    # gradients, on which a processor is many times slower.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    labels = torch.zeros(len(images), dtype=torch.int64)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def forward_pass(model: nn.Module, images: Tensor) -> Callable[[], None]:
    """Return a call that runs ``model`` on ``images`` in evaluation."""
    model.eval()

    @torch.inference_mode()
    def forward() -> None:
        model(images)

    return forward


def _blocks(model: nn.Module) -> dict[str, ChannelAttention]:
    return {n: m for n, m in model.named_modules() if isinstance(m, ChannelAttention)}
