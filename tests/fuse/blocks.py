"""Blocks and networks as users write them."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.models.agreement import scramble


class Tutorial(nn.Module):
    """The SE block of tutorials."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 4, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels // 4, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        return x * self.fc(self.pool(x).view(b, c)).view(b, c, 1, 1).expand_as(x)


class Block(nn.Module):
    """A residual block with it."""

    def __init__(self, channels: int = 16, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.se = Tutorial(channels)
        self.project = nn.Sequential(
            nn.Conv2d(channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x):
        return F.relu(self.se(self.bn(self.conv(x))) + self.project(x))


def small() -> nn.Module:
    """A stem and two blocks."""
    stem = nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    model = nn.Sequential(*stem, Block(), Block(stride=2))
    scramble(model)
    return model


def results(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the output, every gradient, and every buffer afterwards."""
    model.zero_grad()
    x = x.clone().requires_grad_()
    y = model(x)
    (y * torch.arange(y.numel()).to(y).reshape(y.shape).cos()).sum().backward()
    assert x.grad is not None
    found = {"output": y.detach(), "gradient of x": x.grad}
    found |= {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | {name: b.clone() for name, b in model.named_buffers()}
