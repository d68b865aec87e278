"""Initial weights: the same for a network and its plain twin at the same seed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from senet.nn import ChannelAttention


def draw_seed() -> int:
    """Draw a number from PyTorch's global generator; a network does so before it is built."""
    return int(torch.randint(2**62, (), device="cpu"))


def initialise(model: nn.Module, seed: int, zero_init_residual: bool = False) -> None:
    """Initialise a network after He et al. (arXiv 1502.01852, fan out), attention last.

    Building a network draws numbers too, and more of them with SE. Here all numbers come from a
    separate generator, and the SE blocks are initialised after everything else, so that the layers
    that a network shares with its plain twin start at the same values.

    Args:
        model: the network, changed in place.
        seed: seed of the generator, from :func:`draw_seed`.
        zero_init_residual: whether the last batch norm of every residual branch starts at zero.

    Example:
        >>> from senet import create_model
        >>> _ = torch.manual_seed(1)
        >>> plain = create_model("resnet20_cifar")
        >>> _ = torch.manual_seed(1)
        >>> se = create_model("se_resnet20_cifar")
        >>> torch.equal(plain.fc.weight, se.fc.weight)
        True
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = [m for m in model.modules() if isinstance(m, ChannelAttention)]
    inside = {m for block in blocks for m in block.modules()}
    for module in model.modules():
        if module not in inside:
            _start(module, generator)
    for block in blocks:
        for module in block.modules():
            _start(module, generator)
        block.reset_gate()
    if zero_init_residual:
        for norm in _last_norms(model):
            nn.init.zeros_(norm.get_parameter("weight"))


def _start(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, _ConvNd):
        nn.init.kaiming_normal_(
            module.weight, mode="fan_out", nonlinearity="relu", generator=generator
        )
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, _BatchNorm):
        module.reset_parameters()
    elif isinstance(module, nn.Linear):
        bound = 1 / math.sqrt(module.in_features)
        nn.init.uniform_(module.weight, -bound, bound, generator=generator)
        nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def _last_norms(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the norm that ends each residual branch: the one with the highest number in a block."""
    for block in model.modules():
        if hasattr(block, "downsample"):
            norms = [name for name, _ in block.named_children() if name.startswith("bn")]
            yield block.get_submodule(max(norms))
