"""Gradients that have none of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def needed(grads: Iterable[Tensor | None], needs: Iterable[bool]) -> tuple[Tensor | None, ...]:
    """Those of ``grads`` that somebody asked for; asked for their own gradients, they refuse."""
    grads = tuple(g if need else None for g, need in zip(grads, needs, strict=False))
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        grads = _Once.apply(torch.empty(0, requires_grad=True), *grads)
    return grads  # type: ignore[return-value]


class _Once(torch.autograd.Function):
    """Says that there is no second derivative when one is asked for."""

    @staticmethod
    def forward(ctx: Any, _, *grads):
        return grads

    @staticmethod
    def backward(ctx: Any, *_):
        raise RuntimeError(
            "the fused passes have no second derivative; take gradients of gradients inside "
            '`with senet.ops.backend.use("eager"):`, where plain PyTorch computes the network'
        )
