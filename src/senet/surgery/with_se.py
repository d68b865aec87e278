"""A module with SE in it: what it computes, rescaled."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from senet.graph.swap import Swapped, restore, swap


class WithSE(Swapped):
    """A module whose output its own child ``se`` rescales. See :func:`put_se`."""

    se: nn.Module

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.se(super().forward(*args, **kwargs))  # type: ignore[misc]


def put_se(module: nn.Module, se: nn.Module) -> None:
    """Let ``se`` rescale what ``module`` computes; its parameters become ``se.…`` of the module.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm2d(8)
        >>> put_se(norm, nn.Dropout(1.0))  # or a block of attention
        >>> norm(torch.randn(2, 8, 4, 4)).any()
        tensor(False)
        >>> take_se(norm)
        Dropout(p=1.0, inplace=False)
        >>> type(norm) is nn.BatchNorm2d
        True
    """
    assert not hasattr(module, "se")
    module.add_module("se", se)
    swap(module, WithSE)


def take_se(module: nn.Module) -> nn.Module:
    """Undo :func:`put_se`, and return what was put in."""
    assert isinstance(module, WithSE)
    se = module.se
    restore(module)
    del module.se
    return se
