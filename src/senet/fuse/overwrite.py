"""The convolutions of a graph that overwrite the shortcut that they add."""

from __future__ import annotations

from torch import fx
from torch.nn import functional as F

from senet.fuse.convolution import Convolution
from senet.ops.gate import gated_tail


def overwrite_shortcuts(gm: fx.GraphModule) -> None:
    """Let each :class:`Convolution` overwrite its shortcut if nothing else can read that later.

    Memory that was just read is in the cache, and new memory has to be fetched from the system.
    This comes last: a call that becomes part of a convolution reads its inputs when that runs.

    Args:
        gm: a graph whose convolutions are modules.
    """
    place = {node: k for k, node in enumerate(gm.graph.nodes)}
    for node in gm.graph.nodes:
        if node.op != "call_module" or len(node.args) < 2 or node.args[1] is None:
            continue
        module = gm.get_submodule(node.target)
        assert isinstance(module, Convolution)
        module.overwrites = _may_overwrite(node, place)


def _may_overwrite(node: fx.Node, place: dict[fx.Node, int]) -> bool:
    """Whether a convolution may overwrite its shortcut while it reads its input.

    Nothing may read the shortcut afterwards, nor may the input be the shortcut, or a view of it:
    all that is made of it must be new.
    """
    x, shortcut = node.args
    assert isinstance(shortcut, fx.Node)
    others = [user for user in shortcut.users if user is not node]
    last = all(place[user] < place[node] for user in others)
    return _is_new(shortcut) and shortcut is not x and last and all(map(_is_new, others))


def _is_new(node: fx.Node) -> bool:
    """Whether ``node`` makes a new map: it is neither an input nor can it be a view."""
    return node.op == "call_module" or node.target in (F.conv2d, gated_tail)
