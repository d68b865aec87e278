"""The names that other projects give to the tensors of our networks."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# What a name looks like elsewhere, and here. Applied in this order, each to every name.
_NAMES = (
    (r"^module\.", ""),  # data-parallel training
    (r"^layer0\.", ""),  # legacy SENet of Cadene and timm
    (r"^(last_linear|linear|classifier)\.", "fc."),  # legacy SENet; CIFAR networks
    (r"\.se_module\.", ".se."),  # legacy SENet
    (r"(^|\.)fc\.0\.", r"\1fc1."),  # SE as Linear, ReLU, Linear, Sigmoid in a Sequential `fc`
    (r"(^|\.)fc\.2\.", r"\1fc2."),
)
_SE_LAYER = re.compile(r"(^|\.)fc[12]\.weight$")


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with our names and shapes; one that has them already comes back as it is.

    Known are torchvision and timm (whose names are ours), timm's and Cadene's legacy SENets,
    data-parallel checkpoints, and SE blocks made of two linear layers in a ``Sequential``.

    Args:
        state: of a network, or of a single SE block.

    Example:
        >>> import torch
        >>> state = translate({"layer1.0.se.fc.0.weight": torch.zeros(4, 64)})
        >>> {name: tuple(value.shape) for name, value in state.items()}
        {'layer1.0.se.fc1.weight': (4, 64, 1, 1)}
    """
    translated = {}
    for name, value in state.items():
        for there, here in _NAMES:
            name = re.sub(there, here, name)
        if _SE_LAYER.search(name) and value.dim() == 2:  # linear layers are 1×1 convolutions here
            value = value[:, :, None, None]
        translated[name] = value
    return translated
