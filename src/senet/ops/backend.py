"""The choice of the backend that runs the passes, and how to force one.

``auto`` takes the fastest backend that can run: *triton* for maps on a GPU, *native* for maps on
the CPU, and *eager*, plain PyTorch, for everything else. A backend that is requested by name and
cannot run is an error; ``auto`` falls back, and :func:`explain` says why.
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
# The names that `use` was entered with and not left, each in a list that only its `use` holds.
_entered: ContextVar[tuple[list[str], ...]] = ContextVar("senet_backend", default=())


def _forced() -> str:
    """Return the name that was entered last, or that of the environment variable."""
    entered = _entered.get()
    return entered[-1][0] if entered else _ASKED


@contextmanager
def use(name: str) -> Iterator[None]:
    """Run everything inside, in this thread, on the backend ``name``.

    To choose a backend for the whole process, set the environment variable ``SENET_BACKEND``.

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
    mine = [name]
    _entered.set((*_entered.get(), mine))
    try:
        yield
    finally:  # which may be before a `use` that was entered later is left
        _entered.set(tuple(entry for entry in _entered.get() if entry is not mine))


def of(x: Tensor) -> ModuleType:
    """Return the backend for the map ``x``."""
    if (forced := _forced()) != "auto":
        return _require(forced)
    name = {"cpu": "native", "cuda": "triton"}.get(x.device.type, "eager")
    if missing(name) or _traced() or not _ready[name].takes(x):
        return eager
    return _ready[name]


def halves(x: Tensor, *others: Tensor | None) -> ModuleType | None:
    """Return the module that runs each half of a tail of ``x`` in one call, without the dispatcher.

    ``None`` if the backend of ``x`` has no such calls, or if a compiler, a mode or a tensor
    subclass would not see them. A half then consists of passes and the algebra between them.

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


# The size of a map on the CPU, in numbers, from which the passes gain more than the calls between
# them cost, with and without a gate, as measured by `python -m benchmarks.ops.small`.
LEAST, LEAST_WITHOUT_GATE = 1 << 17, 1 << 19


def pays(x: Tensor, numbers: int, gate: bool, whole: bool = False) -> bool:
    """Whether a tail on the passes is faster than plain PyTorch.

    A backend that is requested by name gets every map.

    Args:
        x: a map, or a fake tensor while a network is captured.
        numbers: how many numbers the map has.
        gate: whether the tail has a gate.
        whole: whether the tail, including its gate, would be a single call.

    Example:
        >>> pays(torch.empty(8), 8, gate=True)
        False
    """
    if of(x) is eager or not numbers:
        return False
    if whole or _forced() != "auto" or x.device.type != "cpu":
        return True
    return numbers >= (LEAST if gate else LEAST_WITHOUT_GATE)


def _traced() -> bool:
    """Whether a network is being exported, traced or transformed, which kernels do not support."""
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    return torch.jit.is_tracing() or _functorch.peek_interpreter_stack() is not None


def explain() -> str:
    """Return one line per backend: whether it can run here, and if not, why and what to do.

    Example:
        >>> from senet.ops import backend
        >>> backend.explain().splitlines()[0]
        'eager: ready'
    """
    lines = [f"{name}: {missing(name) or 'ready'}" for name in NAMES]
    if (forced := _forced()) != "auto":
        lines.append(f"forced: {forced}")
    return "\n".join(lines)


_ready: dict[str, ModuleType] = {}
_reasons: dict[str, str] = {}


def missing(name: str) -> str:
    """Return why the backend ``name`` cannot run here; if it can, load it and return ``""``."""
    if name not in _ready and name not in _reasons:
        try:
            _ready[name] = importlib.import_module(f"senet.ops.{name}")
        except ImportError as error:
            _reasons[name] = str(error)
    return _reasons.get(name, "")


# torch.compile need not trace an import. This is what torch.compiler.assume_constant_result does,
# but that first imports the compiler, which takes a second and which most commands never use.
missing._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _require(name: str) -> ModuleType:
    if name not in NAMES:
        raise ValueError(f"no backend {name!r}: there are 'auto', {', '.join(map(repr, NAMES))}")
    if why := missing(name):
        raise ValueError(f"the backend {name!r} was requested by name and cannot run here: {why}")
    return _ready[name]
