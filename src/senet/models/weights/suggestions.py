"""Suggestions of a network for a state dict, for the message when it does not fit the one named."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from senet.models.architecture import Architecture
from senet.models.network import Network
from senet.models.registry import entry, list_models

Shapes = frozenset[tuple[str, tuple[int, ...]]]

# Choices of other projects that differ from our defaults and can be seen in the tensors.
_VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"se_bias": False},
    {"shortcut": "projection"},
    {"shortcut": "projection", "se_bias": False},
)


def suggest(state: Mapping[str, Tensor]) -> list[str]:
    """Return a line on the networks that ``state`` fits, classifiers aside, or on the nearest one.

    The first call takes seconds: every network of the registry is built, on the meta device.

    Args:
        state: names and tensors; the names may be another project's.

    Example:
        >>> from senet import create_model
        >>> suggest(create_model("resnet20_cifar", num_classes=3).state_dict())
        ['They would fit resnet20_cifar.']
        >>> suggest(create_model("se_resnet18", se_bias=False).state_dict())
        ['They would fit se_resnet18 with se_bias=False.']
    """
    empty = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
    named = {family: _translated(family, empty) for family in map(_family, list_models())}

    def common(name: str) -> float:
        ours, theirs = _shapes_of(name), named[_family(name)]
        return len(ours & theirs) / len(ours | theirs)

    nearest = sorted(list_models(), key=common, reverse=True)[:4]
    for options in _VARIANTS:
        known = [n for n in nearest if options.keys() <= entry(n).options().keys()]
        fit = [n for n in known if _shapes_of(n, **options) == named[_family(n)]]
        if fit:
            chosen = ", ".join(f"{key}={value!r}" for key, value in options.items())
            return [f"They would fit {' or '.join(fit)}{chosen and f' with {chosen}'}."]
    share = common(nearest[0])
    return [f"They are most like {nearest[0]}: {share:.0%} are the same."] if share > 0.5 else []


def _family(name: str) -> type[Network]:
    return entry(name).family


def _translated(family: type[Network], state: Mapping[str, Tensor]) -> Shapes:
    try:
        return _shapes(family.translate(state))
    except Exception:  # another family's tensors can raise anything
        return frozenset()


@functools.cache
def _shapes_of(name: str, **options: Any) -> Shapes:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return _shapes(Architecture.of(name, options=options).build().state_dict())


def _shapes(state: Mapping[str, Tensor]) -> Shapes:
    return frozenset(
        (name, tuple(value.shape))
        for name, value in state.items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    )
