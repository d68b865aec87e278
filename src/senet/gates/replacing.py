"""Replace the gates of SE blocks by others while a network runs: the exact ablation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from senet.graph.capture import as_written
from senet.ops import reference


@contextmanager
def replacing(model: nn.Module, gates: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Replace gates of ``model`` within the context: a block returns its map times other gates.

    The network keeps its weights, and an accelerated one runs as it was written.

    Args:
        model: any network with SE.
        gates: for the path of a block, what makes the gates ``[B, C]`` from its map ``[B, C, …]``.

    Example:
        >>> import torch
        >>> from senet import SqueezeExcitation
        >>> model, u = torch.nn.Sequential(SqueezeExcitation(8, 2)), torch.randn(2, 8, 3, 3)
        >>> with replacing(model, {"0": lambda u: torch.ones(u.shape[:2])}):
        ...     torch.equal(model(u), u)
        True
    """

    def hook(
        make: Callable[[Tensor], Tensor],
    ) -> Callable[[nn.Module, tuple[Any, ...], Any], Tensor]:
        return lambda block, given, y: reference.scale(given[0], make(given[0]))

    hooks = []
    try:
        for path, make in gates.items():
            hooks.append(model.get_submodule(path).register_forward_hook(hook(make)))
        with as_written(model):
            yield
    finally:
        for one in hooks:
            one.remove()
