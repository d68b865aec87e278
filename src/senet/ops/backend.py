"""Which backend runs the passes, and why; how to force one.

``auto`` takes the fastest that can run: *triton* for maps on a GPU, *native* for maps on the CPU,
and *eager*, plain PyTorch, for everything else. A backend that was asked for by name and cannot run
is an error; ``auto`` falls back, and :func:`explain` says why.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

import torch
from torch import Tensor
from torch._C import _functorch  # type: ignore[attr-defined]

from senet.ops import eager

NAMES = ("eager", "native", "triton")

_ASKED = os.environ.get("SENET_BACKEND", "auto")
_forced = ContextVar("senet_backend", default=_ASKED)


@contextmanager
def use(name: str) -> Iterator[None]:
    """Run everything inside, in this thread, on the backend ``name``.

    The same for a whole process: set the environment variable ``SENET_BACKEND``.

    Args:
        name: ``"auto"`` or one of :data:`NAMES`.

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
    if name != "auto":
        _require(name)
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def of(x: Tensor) -> ModuleType:
    """The backend for the map ``x``."""
    if (forced := _forced.get()) != "auto":
        return _require(forced)
    name = {"cpu": "native", "cuda": "triton"}.get(x.device.type, "eager")
    if missing(name) or _traced() or not _ready[name].takes(x):
        return eager
    return _ready[name]


def halves(x: Tensor, *others: Tensor | None) -> ModuleType | None:
    """What runs each half of a tail of ``x`` in one call, past PyTorch's dispatcher.

    ``None`` where the backend of ``x`` has no such calls, and where they would not be seen by what
    watches: a compiler, a mode, a class of tensors. Then a half is passes, with algebra between.

    Args:
        x: a map.
        others: all other tensors of the call.
    """
    if torch.compiler.is_compiling() or _traced() or torch._C._len_torch_dispatch_stack():
        return None
    if of(x) is not _ready.get("native") or not _ready["native"].takes(x) or not x.numel():
        return None
    if any(type(t) not in _PLAIN for t in (x, *others) if t is not None):
        return None
    return _tails()


_PLAIN = (Tensor, torch.nn.Parameter)


@functools.cache
def _tails() -> ModuleType:
    return importlib.import_module("senet.ops.native.tails")


# Numbers of a map on the CPU from which the passes gain more than the calls between them cost, with
# a gate and without: `python -m benchmarks.ops.small` measures it.
LEAST, LEAST_WITHOUT_GATE = 1 << 17, 1 << 19


def pays(x: Tensor, numbers: int, gate: bool, whole: bool = False) -> bool:
    """Whether a tail on the passes is faster than plain PyTorch.

    A backend that was asked for by name gets every map.

    Args:
        x: a map, or what stands for one while a network is captured.
        numbers: of the map.
        gate: whether something is between squeeze and scale.
        whole: whether the tail, its gate included, would be a single call.

    Example:
        >>> pays(torch.empty(8), 8, gate=True)
        False
    """
    if of(x) is eager or not numbers:
        return False
    if whole or _forced.get() != "auto" or x.device.type != "cpu":
        return True
    return numbers >= (LEAST if gate else LEAST_WITHOUT_GATE)


def _traced() -> bool:
    """Whether a network is being exported or transformed by ``torch.func``, as no kernel can."""
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
    if (forced := _forced.get()) != "auto":
        lines.append(f"forced: {forced}")
    return "\n".join(lines)


_ready: dict[str, ModuleType] = {}
_reasons: dict[str, str] = {}


def missing(name: str) -> str:
    """Why the backend ``name`` cannot run here; empty where it can, and then it is loaded."""
    if name not in _ready and name not in _reasons:
        try:
            _ready[name] = importlib.import_module(f"senet.ops.{name}")
        except ImportError as error:
            _reasons[name] = str(error)
    return _reasons.get(name, "")


# torch.compile need not look into an import. This is what torch.compiler.assume_constant_result
# does, after it has imported the compiler, which takes a second and which most commands never use.
missing._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _require(name: str) -> ModuleType:
    if name not in NAMES:
        raise ValueError(f"no backend {name!r}: there are 'auto', {', '.join(map(repr, NAMES))}")
    if why := missing(name):
        raise ValueError(f"the backend {name!r} was asked for by name and cannot run here: {why}")
    return _ready[name]
