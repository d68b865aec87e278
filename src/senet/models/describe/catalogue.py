"""Write ``catalogue.json``: what every network is, and what it costs.

``make catalogue`` runs this file after networks have been added or changed; ``senet.known`` reads
what it wrote.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from senet.known import CATALOGUE
from senet.models.architecture import Architecture
from senet.models.attention import KINDS
from senet.models.describe import cost
from senet.models.registry import entry, list_models


def facts(name: str) -> dict[str, Any]:
    """Return the facts that are kept about a network, counted on the network itself.

    Example:
        >>> facts("se_resnet8_cifar")["parameters"]
        76081
    """
    found = entry(name)
    channels, size = found.preprocessing.channels, found.preprocessing.size
    with torch.device("meta"):  # shapes are all that costs need
        model = Architecture.of(name).build()
    return {
        "twin": found.twin,
        "has_se": found.has_se,
        "channels": channels,
        "size": size,
        "num_classes": found.num_classes,
        "parameters": cost.parameters(model)[0],
        "multiply_adds": cost.multiply_adds(model, (channels, size, size))[0],
    }


def options() -> list[str]:
    """Return the names of all options that any network takes, with any kind of attention."""
    kinds = (None, *KINDS)
    return sorted(
        {o for name in list_models() for kind in kinds for o in entry(name).options(kind)}
    )


def write() -> None:
    """Write the options, and the facts about all networks, one line per network."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(facts(name))}" for name in list_models())
    text = f'{{\n"options": {json.dumps(options())},\n"networks": {{\n{lines}\n}}\n}}\n'
    CATALOGUE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
