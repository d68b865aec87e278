"""Grad-CAM: where in an image a block's channels speak for an answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from senet.graph.capture import as_written, evaluating


def grad_cam(model: nn.Module, x: Tensor, layer: nn.Module, answer: int) -> tuple[Tensor, Tensor]:
    """Return Grad-CAM of one image, and the feature map that a layer returned for it.

    relu(Σ_c w_c A_c), with A the map that ``layer`` returns and w_c the mean over space of the
    gradient of the answer's logit with respect to A_c (Selvaraju et al., ICCV 2017, equations 1
    and 2).

    Args:
        model: the network.
        x: the image as the network takes it, ``[1, C, H, W]``.
        layer: a module within it that returns a feature map.
        answer: number of the answer.

    Returns:
        the map ``[h, w]``, not negative, and A, ``[C, h, w]``.

    Example:
        >>> from senet import create_model
        >>> model = create_model("se_resnet8_cifar")
        >>> cam, maps = grad_cam(model, torch.randn(1, 3, 32, 32), model.layer3[0].se, 0)
        >>> cam.shape, maps.shape
        (torch.Size([8, 8]), torch.Size([64, 8, 8]))
    """
    maps: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> Tensor:
        maps.append(y if y.requires_grad else y.requires_grad_())  # frozen weights need it
        return y.clone()  # so that what follows may work in place

    hook = layer.register_forward_hook(keep)
    try:
        with evaluating(model), as_written(model), torch.enable_grad():
            logit = model(x)[0, answer]
            (gradient,) = torch.autograd.grad(logit, maps[-1])
    finally:
        hook.remove()
    A, w = maps[-1][0].detach(), gradient[0].mean((1, 2))
    return (w[:, None, None] * A).sum(0).relu(), A
