"""What each call of a network is computed from."""

from __future__ import annotations

from torch import fx, nn

from senet.graph.words import CONVOLUTIONS, LAYERS, LOOK_AT_ALL, is_product
from senet.surgery.reading import Region, is_called


class Past:
    """The calls that each call of a region is computed from, as the bits of a number."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.upstream: dict[fx.Node, int] = {}
        for i, node in enumerate(region.graph.nodes):
            self.upstream[node] = 1 << i
            for source in node.all_input_nodes:
                self.upstream[node] |= self.upstream[source]
        ops = enumerate(node.op for node in region.graph.nodes)
        self.inputs = [i for i, op in ops if op == "placeholder"]

    def own(self, node: fx.Node, other: fx.Node) -> list[fx.Node]:
        """Return what ``node`` is computed from and ``other`` is not, in the order of the calls."""
        return self.nodes(self.upstream[node] & ~self.upstream[other])

    def nodes(self, bits: int) -> list[fx.Node]:
        """Return the calls that ``bits`` stands for, in their order."""
        return [n for i, n in enumerate(self.upstream) if bits >> i & 1]

    def convolutions(self, node: fx.Node, other: fx.Node) -> list[tuple[fx.Node, nn.Module]]:
        found = [(n, self.region.called(n)) for n in self.own(node, other)]
        return [(n, module) for n, module in found if isinstance(module, CONVOLUTIONS)]

    def sides(self, addition: fx.Node) -> list[tuple[fx.Node, int]]:
        """Return the two added maps, each with its number of own convolutions; the fewer first."""
        a, b = addition.args
        assert isinstance(a, fx.Node)
        assert isinstance(b, fx.Node)
        counts = [(a, len(self.convolutions(a, b))), (b, len(self.convolutions(b, a)))]
        return sorted(counts, key=lambda side: side[1])

    def sees_input(self, node: fx.Node) -> bool:
        """Return whether ``node`` is computed from the input, unlike a table of positions, say."""
        return any(self.upstream[node] >> i & 1 for i in self.inputs)

    def has_attention(self, node: fx.Node, other: fx.Node) -> bool:
        """Return whether there is a block of attention, SE or other, on the way to ``node``."""
        return any(self.region.is_attention(n) for n in self.own(node, other))

    def unlike_a_branch(self, node: fx.Node, other: fx.Node) -> str:
        """Return why SE should not go at the end of what leads to ``node``; empty if it may."""
        own = self.own(node, other)
        if any(self._is_gated(n) for n in own):
            return "it rescales its map already"
        if any(is_called(n, LOOK_AT_ALL, self.region.module) for n in own):
            return "it looks at the whole map, not by convolutions alone"
        return ""

    def _is_gated(self, product: fx.Node) -> bool:
        """Return whether ``product`` is a map times what layers have made from that map."""
        factors = product.all_input_nodes
        if not is_product(product) or len(factors) != 2:
            return False
        map_, gates = sorted(factors, key=lambda n: self.upstream[n].bit_count())
        layers = [self.region.called(n) for n in self.own(gates, map_)]
        made_of_it = not self.upstream[map_] & ~self.upstream[gates]
        return made_of_it and any(isinstance(m, LAYERS) for m in layers)
