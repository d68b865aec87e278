"""A comparison of a network for inference with the network that it was made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from senet.graph.capture import evaluating


def require_agreement(made: nn.Module, model: nn.Module, x: Tensor) -> None:
    """Check that ``made`` computes what ``model`` does in evaluation, on one input.

    torch.export does not follow everything that a network may do: PyTorch 2.13 loses what is
    written to a map through the result of an ``einsum`` that only permutes it. Roundings differ, so
    outputs may differ by the cube root of the precision of their type, relative to the largest
    number and to 0.001: 0.5 % in float32; and by ten times as much as the network differs from
    itself if its input is rounded, because it is random or multiplies roundings.

    Args:
        made: the network for inference.
        model: the original network; it is not changed.
        x: an input of both; if all its numbers are equal, random ones are taken, since a constant
            map has no variance.

    Raises:
        ValueError: if outputs differ.
    """
    with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        x = x if (x != x.flatten()[:1]).any() else torch.rand_like(x)
        wanted = _floats(model, x)
        far = _difference(_floats(made, x), wanted)
        if far <= 1:
            return
        rounded = x * (1 + 4 * torch.finfo(x.dtype).eps)
        if far <= 10 * _difference(_floats(model, rounded), wanted):
            return
    raise ValueError(
        f"what torch.export makes of {type(model).__name__} does not compute what the network does:"
        f" on the example, outputs differ by {far:,.1f} times what roundings explain. "
        "senet.accelerate takes any network; please report this one"
    )


def _floats(network: Callable[[Tensor], Any], x: Tensor) -> list[Tensor]:
    """Return the outputs of a network that are tensors of floats."""
    found = tree_leaves(network(x.clone()))
    return [y for y in found if isinstance(y, Tensor) and y.is_floating_point()]


def _difference(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Return the largest difference from finite numbers, in units of what is allowed."""
    if [y.shape for y in found] != [y.shape for y in wanted]:
        return float("inf")
    return max((_relative(a, b) for a, b in zip(found, wanted, strict=True)), default=0.0)


def _relative(a: Tensor, b: Tensor) -> float:
    finite = b.isfinite()
    allowed = torch.finfo(b.dtype).eps ** (1 / 3)
    a, b = a[finite].double(), b[finite].double()
    if not b.numel():
        return 0.0
    far = (a - b).abs().nan_to_num(math.inf, math.inf).max()  # max() of Python overlooks NaN
    return float(far / b.abs().max().clamp(min=1e-3)) / allowed
