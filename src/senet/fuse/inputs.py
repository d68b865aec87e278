"""SE before a pointwise convolution in inference, as MobileNetV3, EfficientNet and RegNetY have it.

There SE is y = W (s v) + b, where a convolution and its activation make v. The convolution after it
scales the few positions that it reads: no pass over a map is left but the mean.
"""

from __future__ import annotations

from torch import fx

from senet.fuse.packed import is_pointwise, layers_of, only_user
from senet.ops.gate import Gate, gated_tail


def take_gates_of_inputs(gm: fx.GraphModule) -> dict[fx.Node, Gate]:
    """Take SE before pointwise convolutions out of the graph.

    Args:
        gm: the result of :func:`~senet.graph.export.exported`, rewritten; it is changed in place.

    Returns:
        The convolutions, and the layers that compute the gates of their inputs.
    """
    gates: dict[fx.Node, Gate] = {}
    for tail in [node for node in gm.graph.nodes if node.target is gated_tail]:
        x, norm, activation, gate, shortcut, relu, *_ = tail.args
        conv = only_user(tail)
        bare = norm is None and activation is None and shortcut is None and not relu
        if bare and conv is not None and is_pointwise(conv):
            gates[conv] = layers_of(gate, gm)
            tail.replace_all_uses_with(x)
            gm.graph.erase_node(tail)
    return gates
