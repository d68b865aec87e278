"""Which parameters of a network are trained, and at which share of the learning rate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import Any

from torch import nn

from senet.models import Network
from senet.near import near


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Exclude parts of a network from training, and return their modules.

    Args:
        model: the network, changed in place.
        patterns: names of modules or parameters, such as ``layer1``, or patterns of them, such as
            ``*.bn1``.

    Raises:
        ValueError: for a pattern that fits nothing, or if nothing is left to train.

    Example:
        >>> from senet import create_model
        >>> model = create_model("se_resnet8_cifar")
        >>> _ = freeze(model, ["conv1", "layer[12]"])
        >>> model.conv1.weight.requires_grad, model.fc.weight.requires_grad
        (False, True)
    """
    names = [name for name, _ in model.named_modules() if name]
    names += [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"freeze={pattern}: no part of the network has such a name."
                f"{near(pattern, names)} Its parts are "
                f"{', '.join(name for name, _ in model.named_children())}"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not _covered(name, patterns)
    if patterns and not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"freeze={','.join(patterns)} leaves nothing to train: leave a part out")
    return [module for name, module in model.named_modules() if name and _covered(name, patterns)]


def _covered(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a pattern fits a name, or that of a module that it is inside."""
    within = accumulate(name.split("."), lambda above, own: f"{above}.{own}")
    return any(fnmatchcase(path, pattern) for path in within for pattern in patterns)


def groups(model: nn.Module, stage_decay: float) -> list[dict[str, Any]]:
    """Return groups of parameters for an optimizer, with their share of the rate as ``scale``.

    The classifier has the whole rate, each stage ``stage_decay`` of that of the stage after it.
    """
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if stage_decay == 1 or not isinstance(model, Network):
        return [{"params": [p for _, p in trained], "scale": 1.0}]
    matcher = model.group_matcher(coarse=True)
    patterns = [matcher["stem"], *(pattern for pattern, _ in matcher["blocks"])]
    found: dict[float, list[nn.Parameter]] = {}
    for name, parameter in trained:
        depth = next((i for i, p in enumerate(patterns) if re.match(p, name)), len(patterns))
        found.setdefault(stage_decay ** (len(patterns) - depth), []).append(parameter)
    return [{"params": own, "scale": scale} for scale, own in found.items()]
