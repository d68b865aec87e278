"""Stochastic depth: residual branches that training leaves out at random."""

from __future__ import annotations

from torch import Tensor, nn


class DropPath(nn.Module):
    """Leave out the branch of some images in training, and scale the others up to the same mean.

    Huang et al., *Deep Networks with Stochastic Depth*, arXiv 1603.09382.

    Args:
        rate: the share of images whose branch is left out, in 0 … 1.

    Shape:
        ``[B, …]`` to the same.

    Raises:
        ValueError: if the rate is not in 0 … 1, or is 1.

    Example:
        >>> import torch
        >>> y = DropPath(0.5)(torch.ones(1000, 3))
        >>> sorted(y.unique().tolist())
        [0.0, 2.0]
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"drop_path must be at least 0 and less than 1, got {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = 1 - self.rate
        images = x.new_empty([x.shape[0]] + [1] * (x.dim() - 1)).bernoulli_(kept)
        return x * images / kept

    def extra_repr(self) -> str:
        return f"{self.rate:g}"
