"""The form of a network, as far as a state dict shows it by its names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Form:
    """What a state dict says about the network that it belongs to.

    Attributes:
        options: options of the network, those with their usual values too.
        in_channels: channels of its images; ``None`` where that is not seen.
        unclear: options that the state dict leaves open, each with the values that fit. The same
            tensors then make networks that compute different things.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    in_channels: int | None = None
    unclear: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
