"""Dense layers: each sees what all before it have made, and adds channels to it.

They are known by their concatenations (DenseNet, arXiv 1608.06993): of the maps that are
concatenated, each but the first is computed from exactly those before it, at the same resolution.
Branches of an Inception module are not computed from each other; the maps of a U-Net differ in
resolution on their way; and where each map is computed from the one before it alone, as in VoVNet,
the concatenation is not dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx, nn

from senet.graph.words import CONVOLUTIONS
from senet.surgery.insert.past import Past
from senet.surgery.reading import is_called

_OTHER_RESOLUTION = ("pool", "interpolate", "upsample", "transpose", "shuffle")


@dataclass(frozen=True)
class DenseLayer:
    """A dense layer.

    Attributes:
        adds: the call that makes the map which it adds.
        convolutions: its convolutions.
    """

    adds: fx.Node
    convolutions: tuple[nn.Module, ...]


def dense_layers(past: Past, pieces: Sequence[fx.Node]) -> list[DenseLayer]:
    """Return the layers that add to a map, if ``pieces``, which are concatenated, are dense."""
    if len(set(pieces)) < max(2, len(pieces)):
        return []
    ordered = sorted(pieces, key=lambda piece: past.upstream[piece].bit_count())
    found = []
    for i, piece in enumerate(ordered[1:], 1):
        layer = _layer(past, piece, ordered[:i])
        if layer is None:
            return []
        found.append(layer)
    return found


def _layer(past: Past, piece: fx.Node, earlier: Sequence[fx.Node]) -> DenseLayer | None:
    """Return what leads from all of the earlier maps, and from nothing else, to ``piece``."""
    known = 0
    for one in earlier:
        known |= past.upstream[one]
    own = past.nodes(past.upstream[piece] & ~known)
    inside = set(own)
    taken = {one for node in own for one in node.all_input_nodes if one not in inside}
    if taken != set(earlier):
        return None
    convs = [m for node in own if isinstance(m := past.region.called(node), CONVOLUTIONS)]
    if any(any(step != 1 for step in conv.stride) for conv in convs):
        return None
    if any(is_called(node, _OTHER_RESOLUTION, past.region.module) for node in own):
        return None
    return DenseLayer(piece, tuple(convs)) if convs else None
