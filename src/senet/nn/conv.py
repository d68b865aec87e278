"""The unit that convolutional networks repeat: convolution, batch norm, activation."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class ConvNormAct(nn.Module):
    """A convolution without bias, its batch norm, and an activation.

    Args:
        inputs: channels that come in.
        outputs: channels that leave.
        kernel_size: side of the window, or its height and width.
        stride: step of the window.
        padding: zeros around the feature map; by default as many as keep its size at stride 1.
        groups: groups of channels; ``inputs`` for a depthwise convolution.
        activation: a function that makes the activation; ``None`` for none.
        eps: epsilon of the batch norm.

    Shape:
        ``[B, inputs, H, W]`` to ``[B, outputs, H', W']``.

    Example:
        >>> import torch
        >>> ConvNormAct(3, 8, 3, stride=2)(torch.randn(2, 3, 8, 8)).shape
        torch.Size([2, 8, 4, 4])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int | tuple[int, int] | None = None,
        groups: int = 1,
        activation: Callable[[], nn.Module] | None = nn.ReLU,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if isinstance(kernel_size, int):
            kernel_size = (kernel_size, kernel_size)
        if padding is None:
            padding = (kernel_size[0] // 2, kernel_size[1] // 2)
        self.conv = nn.Conv2d(
            inputs, outputs, kernel_size, stride, padding, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs, eps=eps)
        self.activation = nn.Identity() if activation is None else activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.bn(self.conv(x)))
