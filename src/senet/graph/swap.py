"""Another forward for a module, by another class: all else about the module stays what it was.

Parameters, their names, hooks, mode, device, and the module's identity are untouched, and so an
optimizer made before goes on working. The new class derives from the old one, and gives it back.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from torch import nn


class Swapped:
    """Comes before the class of a module in its new class, and overrides its ``forward``.

    Attributes:
        original: the class that it came before.
    """

    original: type[nn.Module]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickled, it names the classes that it was made of: the new one has no place."""
        return _remade, taken_apart(type(self)), self.__dict__


def swap(module: nn.Module, mixin: type[Swapped]) -> None:
    """Put ``mixin`` before the class of ``module``.

    Example:
        >>> import torch
        >>> class Twice(Swapped):
        ...     def forward(self, x):
        ...         return 2 * super().forward(x)
        >>> layer = nn.ReLU()
        >>> swap(layer, Twice)
        >>> layer(torch.ones(1)), isinstance(layer, nn.ReLU)
        (tensor([2.]), True)
        >>> restore(layer)
        >>> layer(torch.ones(1)), type(layer) is nn.ReLU
        (tensor([1.]), True)
    """
    module.__class__ = _mixed(mixin, type(module))


def restore(module: nn.Module) -> None:
    """Undo the latest :func:`swap` of ``module``."""
    made: Any = type(module)
    assert issubclass(made, Swapped)
    module.__class__ = made.original


@cache
def _mixed(mixin: type[Swapped], original: type[nn.Module]) -> type:
    names = {"original": original, "__module__": original.__module__, "__doc__": original.__doc__}
    return type(original.__name__, (mixin, original), names)


def taken_apart(made: type) -> tuple[tuple[type[Swapped], ...], type[nn.Module]]:
    """The mixins of a class, the latest first, and the class that they were put before.

    Example:
        >>> taken_apart(nn.ReLU)
        ((), <class 'torch.nn.modules.activation.ReLU'>)
    """
    mixins: tuple[type[Swapped], ...] = ()
    while "original" in vars(made):
        mixin, made = made.__bases__
        mixins = (*mixins, mixin)
    return mixins, made


def _remade(mixins: tuple[type[Swapped], ...], plain: type[nn.Module]) -> nn.Module:
    made: Any = plain
    for mixin in reversed(mixins):
        made = _mixed(mixin, made)
    return object.__new__(made)
