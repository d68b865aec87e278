"""The choice of attention for a network: its kind, its options, and its stages.

A family's file says *where* in its blocks attention goes: it calls ``attend(channels, stage)``.
This file decides what that call returns. It defines these options of a network: ``attention`` (a
name of :data:`KINDS`), ``se_stages``, and the options of the kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from senet.near import near
from senet.nn import BLOCKS, ChannelAttention, SqueezeExcitation

Attend = Callable[..., nn.Module | None]
"""``attend(channels, stage, **usual)``: the block for ``channels`` channels, or ``None``.

Stages are counted as the paper does: the stem is stage 1, ``stages[0]`` of a network is stage 2
(conv2_x). ``usual`` is what the family's own authors chose, where that is not the paper's choice.
"""


@dataclass(frozen=True)
class Kind:
    """A kind of attention.

    Attributes:
        block: a function that makes a block for a number of channels.
        options: the options of that function, with the defaults.
    """

    block: Callable[..., ChannelAttention]
    options: Mapping[str, Any]


def _squeeze_excitation(channels: int, *, se_bias: bool, **options: Any) -> SqueezeExcitation:
    return SqueezeExcitation(channels, bias=se_bias, **options)


KINDS: dict[str, Kind] = {
    "se": Kind(
        _squeeze_excitation,
        {
            "reduction": 16,
            "squeeze": "avg",
            "gate": "sigmoid",
            "se_bias": True,
            "gate_bias": 0.0,
        },
    ),
    "eca": Kind(BLOCKS["eca"], {"kernel_size": None}),
    "ese": Kind(BLOCKS["ese"], {}),
    "scse": Kind(BLOCKS["scse"], {"reduction": 16, "combine": "sum"}),
    "ge": Kind(BLOCKS["ge"], {"extent": None}),
}


def options_of(kind: str | None) -> dict[str, Any]:
    """Return the options of a network with this attention, with their defaults; none for ``None``.

    Raises:
        ValueError: if there is no such kind; the message suggests near ones.

    Example:
        >>> options_of("se")["reduction"], options_of(None)
        (16, {})
    """
    if kind is None:
        return {}
    if kind not in KINDS:
        raise ValueError(
            f"no attention {kind!r}.{near(kind, KINDS)} There are: {', '.join(KINDS)}, or none."
        )
    return {"se_stages": None, **KINDS[kind].options}


def is_option(name: str) -> bool:
    """Return whether the option ``name`` belongs to attention, so that the plain twin lacks it."""
    return name in ("attention", "se_stages", "placement") or any(
        name in kind.options for kind in KINDS.values()
    )


def attend(kind: str | None, chosen: Mapping[str, Any]) -> Attend | None:
    """Return the function that makes the blocks of a network; ``None`` without attention.

    Args:
        kind: a name of :data:`KINDS`, or ``None``.
        chosen: the given options of the kind; ``reduction`` may be one number for each stage, from
            stage 2 on. Also ``se_stages``: the stages that get blocks, by default all.

    Example:
        >>> make = attend("se", {"reduction": (4, 8), "se_stages": (3,)})
        >>> make(64, 2), make(64, 3).fc1.out_channels
        (None, 8)
    """
    if kind is None:
        return None
    defaults = KINDS[kind].options
    chosen = dict(chosen)
    named = stages(chosen.pop("se_stages", None))

    def make(channels: int, stage: int, **usual: Any) -> nn.Module | None:
        if named and stage not in named:
            return None
        asked = {name: _of_stage(name, value, stage) for name, value in chosen.items()}
        if "reduction" in asked:  # a given option overrides the family's usual one
            usual.pop("squeeze_channels", None)
        taken = usual if kind == "se" else {}
        return KINDS[kind].block(channels, **{**defaults, **taken, **asked})

    return make


def stages(chosen: int | Iterable[int] | None) -> tuple[int, ...]:
    """Return the stages that ``se_stages`` names; none for ``None``, which stands for all.

    Raises:
        ValueError: if it names none, or the stem.

    Example:
        >>> stages(3), stages(None)
        ((3,), ())
    """
    if chosen is None:
        return ()
    named = (chosen,) if isinstance(chosen, int) else tuple(chosen)
    if not named or min(named) < 2:
        raise ValueError(
            f"se_stages={chosen} must name stages from 2 on: stage 2 is conv2_x of the paper, "
            "the first of the network's stages"
        )
    return named


def _of_stage(name: str, value: Any, stage: int) -> Any:
    if not isinstance(value, tuple | list):
        return value
    if stage - 2 >= len(value):
        raise ValueError(
            f"{name}={tuple(value)} names {len(value)} stages, and the network has a stage "
            f"{stage}: give one number for all, or one for each stage from 2 on"
        )
    return value[stage - 2]
