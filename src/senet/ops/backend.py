"""Which backend runs the four passes, and why; how to force one.

``auto`` takes the fastest that can run: *triton* for maps on a GPU, *native* for maps on the CPU,
and *eager*, plain PyTorch, for everything else. A backend that was asked for by name and cannot run
is an error; ``auto`` falls back, and :func:`explain` says why.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor
from torch._C import _functorch  # type: ignore[attr-defined]

from senet.ops import eager

NAMES = ("eager", "native", "triton")

_forced: str = os.environ.get("SENET_BACKEND", "auto")


@contextmanager
def use(name: str) -> Iterator[None]:
    """Run everything inside on the backend ``name``: ``"auto"`` or one of :data:`NAMES`.

    The same for a whole process: set the environment variable ``SENET_BACKEND``.

    Raises:
        ValueError: if there is no such backend, or it cannot run here (the message says why).

    Example:
        >>> import torch
        >>> from senet.ops import backend, passes
        >>> with backend.use("eager"):
        ...     total, squares = passes.moments(torch.ones(1, 2, 3, 3), None)
        >>> total
        tensor([[9., 9.]])
    """
    global _forced
    if name != "auto":
        _require(name)
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


def of(x: Tensor) -> ModuleType:
    """The backend for the map ``x``."""
    if _forced != "auto":
        return _require(_forced)
    name = {"cpu": "native", "cuda": "triton"}.get(x.device.type, "eager")
    if missing(name) or _traced() or not _ready[name].takes(x):
        return eager
    return _ready[name]


# Numbers of a map on the CPU from which the passes gain more than the calls between them cost, with
# SE and without: `python -m benchmarks.ops.small` measures it.
LEAST, LEAST_WITHOUT_SE = 1 << 17, 1 << 19


def fuses(x: Tensor, se: bool = True) -> bool:
    """Whether ``x`` is worth fused passes: its backend has kernels, and it is large enough.

    Where it is not, plain PyTorch runs the network module by module: as fast as the four passes in
    plain PyTorch, and differentiable as often as one likes. A backend that was asked for by name
    gets every map.

    Args:
        x: a feature map.
        se: whether there is SE in the passes.
    """
    if of(x) is eager:  # also while exporting, when a size must not decide
        return False
    if _forced != "auto" or x.device.type != "cpu":
        return True
    return x.numel() >= (LEAST if se else LEAST_WITHOUT_SE)


def _traced() -> bool:
    """Whether the network is being exported or transformed by ``torch.func``, as no kernel can."""
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    return torch.jit.is_tracing() or _functorch.peek_interpreter_stack() is not None


def explain() -> str:
    """One line a backend: whether it can run here, and if not, why and what to do.

    Example:
        >>> from senet.ops import backend
        >>> backend.explain().splitlines()[0]
        'eager: ready'
    """
    lines = [f"{name}: {missing(name) or 'ready'}" for name in NAMES]
    if _forced != "auto":
        lines.append(f"forced: {_forced}")
    return "\n".join(lines)


_ready: dict[str, ModuleType] = {}
_reasons: dict[str, str] = {}


@torch.compiler.assume_constant_result  # torch.compile need not look into an import
def missing(name: str) -> str:
    """Why the backend ``name`` cannot run here; empty where it can, and then it is loaded."""
    if name not in _ready and name not in _reasons:
        try:
            _ready[name] = importlib.import_module(f"senet.ops.{name}")
        except ImportError as error:
            _reasons[name] = str(error)
    return _reasons.get(name, "")


def _require(name: str) -> ModuleType:
    if name not in NAMES:
        raise ValueError(f"no backend {name!r}: there are 'auto', {', '.join(map(repr, NAMES))}")
    if why := missing(name):
        raise ValueError(f"the backend {name!r} was asked for by name and cannot run here: {why}")
    return _ready[name]
