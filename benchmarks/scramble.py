"""Random values for norms and biases of networks, for benchmarks and tests."""

from __future__ import annotations

import torch
from torch import nn


def scramble(model: nn.Module) -> None:
    """Give every norm and bias random values: at their usual start (1, 0) errors stay hidden."""
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.dim() == 1 and ("var" in name or "weight" in name):
                value.uniform_(0.5, 1.5)
            elif value.dim() == 1:
                value.normal_(0, 0.1)
