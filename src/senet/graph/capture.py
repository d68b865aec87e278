"""The capture of one network by TorchDynamo, which does not interfere with other tools."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._C import _functorch  # type: ignore[attr-defined]
from torch.autograd import forward_ad
from torch.fx._symbolic_trace import is_fx_symbolic_tracing
from torch.overrides import _get_current_function_mode_stack

LIMIT = 64
"""Maximum captures of a network, for modes, sizes and edits; then it runs as plain PyTorch."""


def captured(model: nn.Module, backend: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls ``model`` captured by TorchDynamo, compiled by ``backend``.

    TorchDynamo stores captures with the code object that it captured, up to a limit, so each
    network gets its own code object. It does not capture a container of PyTorch, such as
    ``nn.Sequential``, at the top, but does so from a function.

    Raises:
        RuntimeError: if TorchDynamo does not run here.
    """

    def forward(*args: Any, **kwargs: Any) -> Any:
        return model._call_impl(*args, **kwargs)

    if torch._dynamo.config.disable:
        raise RuntimeError("TorchDynamo is disabled (TORCHDYNAMO_DISABLE)")
    forward.__code__ = forward.__code__.replace(co_name=type(model).__name__)
    limit = {"recompile_limit": LIMIT} if _TAKES_LIMIT else {}
    return torch.compile(forward, backend=backend, **limit)  # type: ignore[call-overload]


_TAKES_LIMIT = "recompile_limit" in inspect.signature(torch.compile).parameters


def is_watched(model: nn.Module) -> bool:
    """Whether another tool traces or transforms the call, and so must see ``model`` as written."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or is_fx_symbolic_tracing()
        or _functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or bool(_get_current_function_mode_stack())
        or _has_gradient_hooks(model)
    )


def _has_gradient_hooks(model: nn.Module) -> bool:
    """Whether a module has hooks for the backward.

    TorchDynamo cannot capture them, and does not try that code again after it has failed once.
    """
    pending: list[nn.Module | None] = [model]
    while pending:
        module = pending.pop()
        if module is None:
            continue
        if module._backward_hooks or module._backward_pre_hooks:
            return True
        pending += module._modules.values()
    return False


@contextmanager
def as_written(model: nn.Module) -> Iterator[None]:
    """Run ``model`` as written inside the context; afterwards restore its acceleration."""
    call, model._compiled_call_impl = model._compiled_call_impl, None
    try:
        yield
    finally:
        model._compiled_call_impl = call


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in evaluation mode within the context; restore its modes, by path, after it."""
    modes = {path: module.training for path, module in model.named_modules()}
    model.eval()
    try:
        yield
    finally:
        for path, module in model.named_modules():
            module.training = modes.get(path, module.training)
