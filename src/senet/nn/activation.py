"""The activations that the passes compute on their way: by their modules' classes."""

from __future__ import annotations

from torch import nn

from senet.nn.hooks import hooked

ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    nn.Hardswish: "hardswish",
}
"""And their names in :data:`senet.ops.activation.ACTIVATIONS`."""


def name_of(activation: nn.Module) -> str | None:
    """The name of an activation that may be computed on the way; ``None`` if it must run as itself.

    Example:
        >>> name_of(nn.SiLU()), name_of(nn.ELU())
        ('silu', None)
    """
    return None if hooked(activation) else ACTIVATIONS.get(type(activation))
