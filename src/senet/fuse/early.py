"""Pointwise convolutions and their tails in inference, with gates known before the convolution.

With u = W h + b the squeeze of u is W meanₙ h + b: the gate needs only h, which has fewer channels
than u. If a map has many more positions than h has channels, s is multiplied into the weights,

    y = relu((s W) h + s b + shortcut),

so that no pass over u remains: SE costs one reading of h and some copies of W.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from senet.fuse.packed import Convolution, convolve, is_fresh, is_last, pair
from senet.graph.export import attribute
from senet.graph.value import tensor_of
from senet.graph.words import convolution_arguments
from senet.ops.gate import Gate, gated_tail, gates_of, rescale

# The positions per channel of h from which a copy of the weights costs less than a pass over u.
POSITIONS = 16


class GatedConvolution(nn.Module):
    """The map y = relu(s u + shortcut) with u = W h + b and the gates s of its mean over space.

    Args:
        convolution: W and b.
        gate: the layers, applied to the mean of u.
        relu: whether a ReLU ends the tail.
        overwrites: whether y may overwrite the shortcut.
    """

    def __init__(self, convolution: Convolution, gate: Gate, relu: bool, overwrites: bool) -> None:
        super().__init__()
        self.convolution = convolution
        self.relu = relu
        self.overwrites = overwrites
        early = gate.before(convolution.weight.flatten(1), convolution.bias)
        for name, value in early._asdict().items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, h: Tensor, shortcut: Tensor | None = None) -> Tensor:
        s = gates_of(h, Gate(*(getattr(self, name) for name in Gate._fields)))
        few = math.prod(h.shape[2:]) < POSITIONS * h.shape[1]
        if few or shortcut is None or not self.convolution.can_pack(h):
            return rescale(self.convolution(h), s, shortcut, self.relu, inplace=True)
        return self._with_gates_inside(h, s, shortcut)

    def _with_gates_inside(self, h: Tensor, s: Tensor, shortcut: Tensor) -> Tensor:
        """Run image by image, each with its own weights."""
        W, b = self.convolution.weight, self.convolution.bias
        maps = [
            convolve(
                h[k : k + 1],
                (W * gates[:, None, None, None]).to(W.dtype),
                None if b is None else (b * gates).to(b.dtype),
                self.convolution.options,
                "relu" if self.relu else None,
                shortcut[k : k + 1],
                self.overwrites,
            )
            for k, gates in enumerate(s)
        ]
        return shortcut if self.overwrites else torch.cat(maps)


def put_gates_early(gm: fx.GraphModule) -> None:
    """Replace pointwise convolutions and their tails by :class:`GatedConvolution`.

    Args:
        gm: the result of :func:`~senet.graph.export.exported`, rewritten; it is changed in place.
    """
    place = {node: k for k, node in enumerate(gm.graph.nodes)}
    for tail in [node for node in gm.graph.nodes if node.target is gated_tail]:
        conv, norm, activation, gate, shortcut, relu, *_ = tail.args
        if norm is not None or activation is not None or not _is_pointwise(conv):
            continue
        h, *weights, _, _, _, _ = convolution_arguments(conv)
        weight, bias = (w if w is None else attribute(gm, w.target) for w in weights)
        assert weight is not None
        layers = Gate(*(attribute(gm, v.target) if isinstance(v, fx.Node) else v for v in gate))
        overwrites = shortcut is not None and is_fresh(shortcut) and is_last(shortcut, tail, place)
        module = GatedConvolution(Convolution(weight, bias), layers, relu, overwrites)
        gm.add_submodule(tail.name, module)
        with gm.graph.inserting_before(tail):
            y = gm.graph.call_module(tail.name, (h, shortcut))
        y.meta, place[y] = dict(tail.meta), place[tail]
        tail.replace_all_uses_with(y)
        gm.graph.erase_node(tail)
        gm.graph.eliminate_dead_code()


def _is_pointwise(conv: Any) -> bool:
    """Whether ``conv`` is a 1×1 convolution with constant weights whose map only the tail reads."""
    if conv.target is not F.conv2d or len(conv.users) != 1:
        return False
    _, weight, bias, stride, padding, _, groups = convolution_arguments(conv)
    w = tensor_of(weight)
    if w is None or weight.op != "get_attr" or (bias is not None and bias.op != "get_attr"):
        return False
    return w.shape[2:] == (1, 1) and (pair(stride), pair(padding), groups) == ([1, 1], [0, 0], 1)
