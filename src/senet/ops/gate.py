"""A whole tail in inference, with a gate of the usual form: one call.

The gate is that of squeeze-and-excitation, s = gate(W₂ f(W₁ z + b₁) + b₂), or of effective SE,
which has a single layer. Any other gate runs as
written, between :func:`~senet.ops.tail.norm_squeeze` and :func:`~senet.ops.tail.norm_scale`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from senet.ops import backend, passes
from senet.ops.activated import act_scale, act_squeeze
from senet.ops.activation import ACTIVATIONS
from senet.ops.norm import Norm
from senet.ops.precision import accumulator, full_precision, wide
from senet.ops.tail import norm_scale, norm_squeeze

GATES = {"sigmoid": torch.sigmoid, "hardsigmoid": F.hardsigmoid}


class Gate(NamedTuple):
    """The layers of a gate.

    Weights may have trailing dimensions of 1, as those of convolutions have.

    Attributes:
        first: W₁, ``[R, C]``; ``None`` if there is one layer.
        first_bias: b₁, ``[R]``, or ``None``.
        activation: f, of :data:`~senet.ops.activation.ACTIVATIONS`.
        second: W₂, ``[C, R]``, or ``[C, C]`` if there is one layer.
        second_bias: b₂, ``[C]``, or ``None``.
        function: a name of :data:`GATES`.
    """

    first: Tensor | None
    first_bias: Tensor | None
    activation: str
    second: Tensor
    second_bias: Tensor | None
    function: str

    def excite(self, z: Tensor) -> Tensor:
        """Return the gates s, ``[B, C]``, of the squeeze z, ``[B, C]``."""
        with full_precision(z):
            if self.first is not None:
                h = F.linear(z, wide(self.first, z).flatten(1), wide(self.first_bias, z))
                z = ACTIVATIONS[self.activation].function(h)
            u = F.linear(z, wide(self.second, z).flatten(1), wide(self.second_bias, z))
            return GATES[self.function](u)

    def before(self, weight: Tensor, bias: Tensor | None) -> Gate:
        """Return the layers that compute the same gates from meanₙ h, where u = W h + b.

        The mean of u is W meanₙ h + b, so W is multiplied into the first layer, which narrows.

        Args:
            weight: W, ``[C, C']``.
            bias: b, ``[C]``, or ``None``.
        """
        layer, c = (
            (self.second, self.second_bias) if self.first is None else (self.first, self.first_bias)
        )
        layer = layer.flatten(1).double()
        product = (layer @ weight.double()).float()
        shift = None if bias is None else layer @ bias.double()
        if c is not None:
            shift = c.double() if shift is None else shift + c.double()
        shift = None if shift is None else shift.float()
        if self.first is None:
            return self._replace(second=product, second_bias=shift)
        return self._replace(first=product, first_bias=shift)


def gated_tail(
    x: Tensor,
    norm: Norm | None,
    activation: str | None,
    gate: Gate,
    shortcut: Tensor | None = None,
    relu: bool = False,
    mean: Tensor | None = None,
    inplace: bool = False,
) -> Tensor:
    """Return y = relu(s v + shortcut), in inference.

    v is u, the batch norm of x, or f(u), and s are the gates of its mean over space.

    Args:
        x: map ``[B, C, *space]``.
        norm: a batch norm in evaluation, or ``None``: then u is x.
        activation: f, a name of :data:`~senet.ops.activation.ACTIVATIONS`, or ``None``; with one
            there is neither a shortcut nor a ReLU.
        gate: the layers.
        shortcut: of the shape of x.
        relu: whether a ReLU ends the tail.
        mean: meanₙ x, ``[B, C]``, if it is already known.
        inplace: whether y may overwrite x, which nothing else reads.

    Returns:
        y, of the type and layout of x.

    Example:
        >>> gate = Gate(None, None, "relu", torch.tensor([[0.0]]), None, "sigmoid")
        >>> gated_tail(torch.tensor([[[1.0, 3.0]]]), None, None, gate)
        tensor([[[0.5000, 1.5000]]])
    """
    half = backend.halves(x, *(norm or ())[:4], *gate[:2], *gate[3:5], shortcut, mean)
    if half and (norm is None or half.takes(norm)):
        return half.gated_tail(x, norm, activation, gate, shortcut, relu, mean, inplace)
    if activation is not None:
        v = act_squeeze(x, norm, activation)
        assert v.z is not None
        return act_scale(v, gate.excite(v.z), inplace)
    h = norm_squeeze(x, norm, mean=mean)
    assert h.z is not None
    return norm_scale(h, gate.excite(h.z), shortcut, relu, inplace)


def gates_of(h: Tensor, gate: Gate) -> Tensor:
    """Return the gates, ``[B, C]``, of meanₙ h, for a map h ``[B, C', *space]``.

    With the layers of :meth:`Gate.before` the gates are known before the map that they scale.

    Example:
        >>> gate = Gate(None, None, "relu", torch.tensor([[1.0]]), None, "sigmoid")
        >>> gates_of(torch.tensor([[[-1.0, 1.0]]]), gate)
        tensor([[0.5000]])
    """
    # PyTorch's own mean takes a third of the time of a pass over a map that was just computed.
    z = h.mean(tuple(range(2, h.dim())), dtype=accumulator(h.dtype))
    if half := backend.halves(z, *gate[:2], *gate[3:5]):
        return half.excite(z, gate)
    return gate.excite(z)


def rescale(
    u: Tensor,
    s: Tensor,
    shortcut: Tensor | None = None,
    relu: bool = False,
    inplace: bool = False,
) -> Tensor:
    """Return y = relu(s u + shortcut), in inference; ``s`` are gates ``[B, C]``.

    Example:
        >>> rescale(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[0.5]]))
        tensor([[[0.5000, 1.5000]]])
    """
    if half := backend.halves(u, s, shortcut):
        return half.rescale(u, s, shortcut, relu, inplace)
    return passes.affine(u, None, s, torch.zeros_like(s), shortcut, relu)
