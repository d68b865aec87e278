"""Batch statistics over several processes, as SyncBatchNorm needs them in `senet.ops.tail`.

Processes exchange only ``[C]`` sums: in the forward the count, mean and variance of each process,
in the backward the two sums T1 and T2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def statistics(mean: Tensor, var: Tensor, count: int, group: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, biased variance and count of the union of the processes' batches.

    Batches may differ in size; the parts are combined as in Chan, Golub and LeVeque,
    *Updating formulae and a pairwise algorithm for computing sample variances* (1979).
    """
    own = torch.cat([mean, var, mean.new_tensor([count])])
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, own, group)
    channels = len(mean)
    means, variances, counts = torch.stack(parts).split([channels, channels, 1], dim=1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    var = (counts * (variances + (means - mean).square())).sum(0) / total
    return mean, var, total


def sums(T1: Tensor, T2: Tensor, group: Any) -> tuple[Tensor, Tensor]:
    """Return the sums of T1 and T2 over all processes."""
    both = torch.stack([T1, T2])
    dist.all_reduce(both, group=group)
    return both[0], both[1]
