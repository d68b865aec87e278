"""The module that a node of a captured graph came from."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import fx, nn

# The names of the network itself, with which every path of TorchDynamo starts.
_ROOT = re.compile(r"^(L|G)\[[^\]]*\](\._modules)?|^self\b|^model\b")
_ITEM = re.compile(r"(?:\._modules)?\[(['\"]?)([^'\"\]]+)\1\]")


def names_of(model: nn.Module) -> dict[str, str]:
    """Return the paths of all modules by TorchDynamo's keys for them."""
    return {str(id(module)): path for path, module in model.named_modules()}


def path_of(node: fx.Node, names: Mapping[str, str] | None = None) -> str:
    """Return the path of the module whose forward made ``node``; empty for the network itself.

    Args:
        node: a node of a captured graph.
        names: the result of :func:`names_of`; without it paths start at the captured module, which
            may be a part of the network.

    Example:
        >>> node = fx.Graph().placeholder("x")
        >>> node.meta["nn_module_stack"] = {"1": ("L['self'].layer1._modules['0'].bn1", object)}
        >>> path_of(node)
        'layer1.0.bn1'
    """
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    key, (path, _) = list(stack.items())[-1]
    if names and key in names:
        return names[key]
    return _ITEM.sub(r".\2", _ROOT.sub("", path, count=1)).strip(".")


def common(paths: list[str]) -> str:
    """Return the innermost module that contains all of ``paths``.

    Example:
        >>> common(["layer1.0.bn2", "layer1.0.se", "layer1.0"])
        'layer1.0'
    """
    parts = [p.split(".") if p else [] for p in paths]
    shared: list[str] = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return ".".join(shared)
