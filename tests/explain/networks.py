"""Networks whose gates are known: constant, those of the class, those of the brightness."""

import torch
from torch import nn

from senet import SqueezeExcitation


def one_block(channels: int = 3) -> nn.Sequential:
    """Return an SE block and a head; the block's weights are zero, so that its gates are 1/2."""
    model = nn.Sequential(SqueezeExcitation(channels, 1), nn.Flatten(), nn.LazyLinear(2))
    for parameter in model[0].parameters():
        nn.init.zeros_(parameter)
    model(torch.zeros(1, channels, 2, 2))
    return model.eval()


def seeing() -> nn.Sequential:
    """Return a network whose gates are sigmoid(mean of the channel), for positive means."""
    model = one_block()
    for fc in (model[0].fc1, model[0].fc2):
        fc.weight.data[:] = torch.eye(3)[:, :, None, None]
    return model


def by_class(n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images whose brightness is that of their class, and nothing else."""
    labels = torch.arange(n) % 3
    return (1.0 + labels.float())[:, None, None, None].expand(n, 3, 2, 2), labels


def by_brightness(n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images of all kinds of brightness in every class."""
    return torch.rand(n, 1, 1, 1).expand(n, 3, 2, 2) * 4, torch.arange(n) % 3
