"""A module with SE in it: what it computes, rescaled.

Its class is swapped for one that derives from the old, and all else about the module stays as it
was: parameters, their names, hooks, mode, device and identity. So an optimizer that was made before
keeps working, and the old class can be restored.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from torch import Tensor, nn


class WithSE:
    """A mixin for a module whose output its own child ``se`` rescales.

    See :func:`put_se`.

    Attributes:
        original: the class that the module had before.
        last: whether the channels of its output are the last dimension, instead of the second.
    """

    original: type[nn.Module]
    last: bool
    se: nn.Module

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Name the original class: the new one cannot be imported from anywhere."""
        made = type(self)
        if "original" not in vars(made):  # other code has derived another class from it
            return object.__new__, (made,), self.__dict__
        return _remade, (made.original, made.last), self.__dict__


def put_se(module: nn.Module, se: nn.Module, last: bool = False) -> None:
    """Let ``se`` rescale what ``module`` computes; its parameters become ``se.…`` of the module.

    With ``last`` the module computes ``[B, *space, C]``, which ``se`` sees as ``[B, C, *space]``.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm2d(8)
        >>> put_se(norm, nn.Dropout(1.0))  # or a block of attention
        >>> norm(torch.randn(2, 8, 4, 4)).any(), isinstance(norm, nn.BatchNorm2d)
        (tensor(False), True)
        >>> take_se(norm)
        Dropout(p=1.0, inplace=False)
        >>> type(norm) is nn.BatchNorm2d
        True
    """
    assert getattr(module, "se", se) is se
    module.add_module("se", se)
    module.__class__ = _with_se(type(module), last)


def take_se(module: nn.Module) -> nn.Module:
    """Undo :func:`put_se`, and return what was put in."""
    assert isinstance(module, WithSE)
    se, original = module.se, module.original
    module.__class__ = original  # type: ignore[assignment]
    del module.se
    return se


@cache
def _with_se(original: type[nn.Module], last: bool) -> type:
    names = {
        "original": original,
        "last": last,
        "forward": _forward(original, last),
        "__module__": original.__module__,
        "__doc__": original.__doc__,
    }
    return type(original.__name__, (WithSE, original), names)


def _forward(original: type[nn.Module], last: bool) -> Callable[..., Tensor]:
    """Return the forward with SE; it takes, and says that it takes, what the original does.

    ``torch.export`` and trainers that pass arguments by name read the signature.
    """

    @wraps(original.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        return self.se(original.forward(self, *args, **kwargs))

    @wraps(original.forward)
    def forward_last(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        u = original.forward(self, *args, **kwargs).movedim(-1, 1)
        return self.se(u).movedim(1, -1)

    forward = forward_last if last else forward
    forward.__signature__ = inspect.signature(original.forward)  # type: ignore[attr-defined]
    del forward.__wrapped__  # TorchScript would compile this in its place, without SE
    return forward


def _remade(original: type[nn.Module], last: bool = False) -> Any:
    return object.__new__(_with_se(original, last))
