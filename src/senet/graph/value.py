"""The value of a node as TorchDynamo knows it: shape, type and storage, without numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx


def value_of(node: Any) -> Any:
    """Return the fake value of ``node`` from the capture; ``None`` if unknown."""
    return node.meta.get("example_value") if isinstance(node, fx.Node) else None


def tensor_of(node: Any) -> Tensor | None:
    """Return the value of ``node`` if it is a tensor, else ``None``."""
    value = value_of(node)
    return value if isinstance(value, Tensor) else None


def same_shape(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether two shapes are equal; sizes may be symbols."""
    return len(a) == len(b) and all(bool(m == n) for m, n in zip(a, b, strict=True))


def numbers(x: Tensor) -> int:
    """Return the number of elements of a map; symbolic sizes count as captured."""
    return math.prod(known(size) for size in x.shape)


def known(size: Any) -> int:
    """Return a size; a symbolic one as captured."""
    return size if isinstance(size, int) else int(size.node.hint)


def fixed(size: Any) -> int | None:
    """Return a size if it is the same for every input, else ``None``."""
    return size if isinstance(size, int) else size.node.maybe_as_int()
