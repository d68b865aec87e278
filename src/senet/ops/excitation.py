"""The excitation on ``[B, C]`` arrays, with its gradients: what stands between the passes.

Equation 3 of the paper, s = gate(W2 δ(W1 z + b1) + b2), and the one layer of effective SE,
s = gate(W1 z + b1). It is written out here, since the passes around it have gradients of their own,
and autograd does not look inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from senet.ops.activation import ACTIVATIONS


class Excitation(NamedTuple):
    """The layers of an SE block: s = gate(W2 δ(W1 z + b1) + b2), or gate(W1 z + b1) without W2.

    Attributes:
        w1: ``[R, C]``; b1: ``[R]`` or ``None``. R is C where there is one layer.
        w2: ``[C, R]`` or ``None``; b2: ``[C]`` or ``None``.
        gate: a name of :data:`GATES`.
        activation: δ, a name of :data:`~senet.ops.activation.ACTIVATIONS`.
    """

    w1: Tensor
    b1: Tensor | None
    w2: Tensor | None
    b2: Tensor | None
    gate: str = "sigmoid"
    activation: str = "relu"


class Gate(NamedTuple):
    """A gate, and its derivative told from its output."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


GATES = {
    "sigmoid": Gate(torch.sigmoid, lambda s: s * (1 - s)),
    "tanh": Gate(torch.tanh, lambda s: 1 - s * s),
    "relu": Gate(torch.relu, lambda s: (s > 0).to(s.dtype)),
    "hardsigmoid": Gate(F.hardsigmoid, lambda s: ((s > 0) & (s < 1)).to(s.dtype) / 6),
    "scaled_sigmoid": Gate(lambda x: 2 * torch.sigmoid(x), lambda s: s * (1 - s / 2)),
}


def excite(z: Tensor, se: Excitation) -> tuple[Tensor, Tensor]:
    """W1 z + b1, before its activation, and the gates s."""
    h = F.linear(z, se.w1, se.b1)
    if se.w2 is None:
        return h, GATES[se.gate].function(h)
    δ = ACTIVATIONS[se.activation].function
    return h, GATES[se.gate].function(F.linear(δ(h), se.w2, se.b2))


def excite_backward(ds: Tensor, z: Tensor, h: Tensor, s: Tensor, se: Excitation) -> tuple[Any, ...]:
    """Gradients of z, W1, b1, W2, b2 from the gradient of the gates."""
    d2 = ds * GATES[se.gate].slope(s)
    if se.w2 is None:
        return d2 @ se.w1, d2.T @ z, d2.sum(0), None, None
    δ = ACTIVATIONS[se.activation]
    d1 = (d2 @ se.w2) * δ.slope(h)
    return d1 @ se.w1, d1.T @ z, d1.sum(0), d2.T @ δ.function(h), d2.sum(0)
