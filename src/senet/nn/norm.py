"""The norms that a network can have: of the batch, frozen, of groups of channels, or none."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

_GROUPS = 32  # as in Wu and He, arXiv 1803.08494


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """A batch norm that stays as it is: it always uses its running statistics, and learns nothing.

    For fine-tuning with small batches. The keys of its state dict are those of batch norm.

    Example:
        >>> norm = FrozenBatchNorm2d(8).train()
        >>> norm.training, norm.weight.requires_grad
        (False, False)
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        """Stay in evaluation mode."""
        super().train(False)
        return self


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a group norm of 32 groups, or of as many as can share the channels.

    Example:
        >>> group_norm(256).num_groups, group_norm(48).num_groups
        (32, 16)
    """
    return nn.GroupNorm(math.gcd(_GROUPS, channels), channels)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "frozen": FrozenBatchNorm2d,
    "group": group_norm,
    "none": nn.Identity,
}
"""The function that makes each norm for a number of channels."""
