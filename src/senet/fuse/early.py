"""Pointwise convolutions and their tails in inference, with gates known before the convolution.

With u = W h + b the squeeze of u is W meanₙ h + b: the gate needs only h, which has fewer channels
than u. Then s, the shortcut and the ReLU belong to the convolution,

    y = relu(s (W h + b) + shortcut),

so that no pass over u remains: SE costs one reading of h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, fx
from torch.nn import functional as F

from senet.fuse.packed import Convolution, is_fresh, is_last, pair
from senet.graph.export import attribute
from senet.graph.value import tensor_of
from senet.graph.words import convolution_arguments
from senet.ops.gate import Gate, gated_tail, gates_of, rescale

if TYPE_CHECKING:
    from senet.ops.native.pointwise import Pointwise


class GatedConvolution(Convolution):
    """The map y = relu(s u + shortcut) with u = W h + b and the gates s of its mean over space.

    Args:
        weight: W, ``[C, C', 1, 1]``.
        bias: b, ``[C]``, or ``None``.
        gate: the layers, applied to the mean of u.
        relu: whether a ReLU ends the tail.
        overwrites: whether y may overwrite the shortcut.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, gate: Gate, relu: bool, overwrites: bool
    ) -> None:
        super().__init__(weight, bias, overwrites=overwrites)
        self.relu = relu
        for name, value in gate.before(weight.flatten(1), bias)._asdict().items():
            if isinstance(value, Tensor):
                self.register_buffer(f"gate_{name}", value.detach())
            else:
                setattr(self, f"gate_{name}", value)

    @property
    def gate(self) -> Gate:
        """The layers, applied to the mean of h."""
        return Gate(*(getattr(self, f"gate_{name}") for name in Gate._fields))

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        if (pointwise := self.pointwise(x, shortcut)) is not None:
            return pointwise(x, shortcut, self.overwrites)
        return rescale(
            super().forward(x), gates_of(x, self.gate), shortcut, self.relu, inplace=True
        )

    def _changes(self) -> int:
        first = 0 if self.gate_first is None else self.gate_first._version
        return self.weight._version + self.gate_second._version + first

    def _pack_pointwise(self) -> Pointwise:
        from senet.ops.native.pointwise import Pointwise

        return Pointwise(self.weight, self.bias, "relu" if self.relu else None, self.gate)


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
        module = GatedConvolution(weight, bias, layers, relu, overwrites)
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
