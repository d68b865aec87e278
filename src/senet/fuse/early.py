"""Pointwise convolutions and their tails in inference, with gates known before the convolution.

With u = W h + b the squeeze of u is W meanₙ h + b: the gate needs only h, which has fewer channels
than u. Then s, the shortcut and the ReLU belong to the convolution,

    y = relu(s (W h + b) + shortcut),

so that no pass over u remains: SE costs one reading of h.
"""

from __future__ import annotations

from torch import fx

from senet.fuse.gated import GatedOutput
from senet.fuse.packed import is_pointwise, layers_of
from senet.graph.export import add_attribute, attribute
from senet.graph.words import convolution_arguments
from senet.ops.gate import gated_tail


def put_gates_early(gm: fx.GraphModule) -> None:
    """Replace pointwise convolutions and their tails by :class:`~senet.fuse.gated.GatedOutput`.

    Args:
        gm: the result of :func:`~senet.graph.export.exported`, rewritten; it is changed in place.
    """
    for tail in [node for node in gm.graph.nodes if node.target is gated_tail]:
        conv, norm, activation, gate, shortcut, relu, *_ = tail.args
        alone = len(conv.users) == 1 and conv is not shortcut and is_pointwise(conv)
        if norm is not None or activation is not None or not alone:
            continue
        h, *weights, _, _, _, _ = convolution_arguments(conv)
        weight, bias = (w if w is None else attribute(gm, w.target) for w in weights)
        assert weight is not None
        module = GatedOutput(weight, bias, layers_of(gate, gm), relu)
        target = add_attribute(gm, tail.name, module)
        with gm.graph.inserting_before(tail):
            y = gm.graph.call_module(target, (h, shortcut))
        y.meta = dict(tail.meta)
        tail.replace_all_uses_with(y)
        gm.graph.erase_node(tail)
        gm.graph.eliminate_dead_code()
