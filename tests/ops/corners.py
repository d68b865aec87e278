"""The gradients of activations at corners, infinities and NaN, as autograd defines them."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

INF, NAN = float("inf"), float("nan")
INPUTS = [-3.0, -1.5, -0.0, 0.0, 1.0, 3.0, 6.0, 7.0, -7.0, 1e4, -1e4, 1e30, -1e30, INF, -INF, NAN]
GRADIENTS = [1.0, -2.0, 0.0, INF, -INF, NAN]


def of(activation: str) -> tuple[Tensor, Tensor, Tensor]:
    """Each input u with each gradient dy, and what autograd sends back through f(u): f'(u) dy.

    Without a NaN into ReLU6, of which PyTorch's own kernels make different things.
    """
    inputs = [u for u in INPUTS if activation != "relu6" or u == u]
    u, dy = torch.tensor(list(product(inputs, GRADIENTS))).T.contiguous()
    leaf = u.clone().requires_grad_()
    (du,) = torch.autograd.grad(getattr(F, activation)(leaf), leaf, dy)
    return u, dy, du
