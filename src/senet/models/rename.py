"""Names of tensors in other projects that all families share; the rest is in each family.

This file is not in ``weights``, where its subject is: networks translate state dicts, and
``weights`` imports networks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

# Data-parallel training, torch.compile, a network within another module, mmpretrain's.
WRAPPED = (r"^((module|_orig_mod|model|net|backbone)\.)+", "")
_SE_LINEAR = (  # SE as Linear, ReLU, Linear, Sigmoid in a Sequential `fc`
    (r"(^|\.)fc\.0\.", r"\1fc1."),
    (r"(^|\.)fc\.2\.", r"\1fc2."),
)
_SE_LAYER = re.compile(r"(^|\.)fc[12]\.weight$")


def rename(state: Mapping[str, Tensor], names: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    r"""Return a state dict with other names.

    Args:
        state: names and tensors.
        names: pairs of a pattern and its replacement; applied in this order, each to every name.

    Raises:
        ValueError: if two names become one.

    Example:
        >>> import torch
        >>> list(rename({"last_linear.bias": torch.zeros(2)}, [(r"^last_linear\.", "fc.")]))
        ['fc.bias']
    """
    compiled = [(re.compile(there), here) for there, here in names]
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        ours = name
        for there, here in compiled:
            ours = there.sub(here, ours)
        if ours in renamed:
            raise ValueError(
                f"two networks in one state dict: {name!r} and another name both stand for "
                f"{ours!r}. Save one of them alone"
            )
        renamed[ours] = value
    return renamed


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with our names and shapes of SE blocks, whatever network they are in.

    It takes networks that were wrapped when they were saved, and SE blocks made of two linear
    layers, in a ``Sequential`` or not. A state dict that has our names already comes back as it is.

    Args:
        state: names and tensors of a network, or of a single SE block.

    Example:
        >>> import torch
        >>> state = translate({"layer1.0.se.fc.0.weight": torch.zeros(4, 64)})
        >>> {name: tuple(value.shape) for name, value in state.items()}
        {'layer1.0.se.fc1.weight': (4, 64, 1, 1)}
    """
    return {
        # Linear layers are 1×1 convolutions here.
        name: value[:, :, None, None] if _SE_LAYER.search(name) and value.dim() == 2 else value
        for name, value in rename(state, (WRAPPED, *_SE_LINEAR)).items()
    }
