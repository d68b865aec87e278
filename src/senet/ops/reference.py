"""Squeeze, excitation, scale: equations 2 to 4 of the paper in plain PyTorch. The oracle.

Hu, Shen, Albanie, Sun, Wu, *Squeeze-and-Excitation Networks*, arXiv 1709.01507v4, section 3. A
convolution has made the map ``u`` (the transformation, equation 1); then

    z = squeeze(u)                      the mean of each channel over the whole image
    s = excite(z, w1, b1, w2, b2)       how much each channel matters for this image
    y = scale(u, s)                     the map with its channels rescaled

Nothing here is optimised or fused: every faster form in this project is tested against these lines.
The blocks of :mod:`senet.nn` are made of :func:`squeeze` and :func:`scale`, with modules between
them. Both depend on the number of dimensions of the map, so each is one node in a
graph of ``torch.fx``; TorchScript compiles them, ``torch.jit.trace`` and TorchDynamo trace them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx
from torch.nn import functional as F

fx.wrap("squeeze")
fx.wrap("scale")


def squeeze(u: Tensor, mask: Tensor | None = None) -> Tensor:
    """Equation 2: the mean of every channel over all positions, or over those of a mask.

    The sum is accumulated in float32 or wider: in half precision the sum over a large map
    overflows, and over any map it loses digits. PyTorch's ``mean`` accumulates like this as well.

    Args:
        u: feature map ``[B, C, *space]``, with any number of spatial dimensions.
        mask: boolean, ``[B, *space]`` or ``[B, 1, *space]``, true at the positions that count,
            such as those of padded sequences that are not padding. By default all count.

    Returns:
        z, ``[B, C]``, of the type of ``u``; 0 for an image in which no position counts.

    Raises:
        ValueError: if the mask does not fit the map.

    Example:
        >>> u = torch.tensor([[[1.0, 3.0], [5.0, 7.0]]])
        >>> squeeze(u)
        tensor([[2., 6.]])
        >>> squeeze(u, torch.tensor([[True, False]]))
        tensor([[1., 5.]])
    """
    if mask is None:  # without flattening, which would copy a channels-last map
        return u.mean(list(range(2, max(u.dim(), 3))))
    seen = mask_of(u, mask)
    # Filled, not multiplied: the padding adds nothing, even if it holds NaN.
    filled = u.masked_fill(~seen, 0).flatten(2)
    total = filled.sum(2, dtype=torch.promote_types(u.dtype, torch.float32))
    return (total / seen.flatten(2).sum(2).clamp(min=1)).to(u.dtype)


def mask_of(u: Tensor, mask: Tensor) -> Tensor:
    """Return a mask of the positions of ``u`` in the shape ``[B, 1, *space]``.

    Raises:
        ValueError: if it is of another shape, or not boolean.

    Example:
        >>> mask_of(torch.zeros(1, 8, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool)).shape
        torch.Size([1, 1, 2, 2])
    """
    if not torch.jit.is_scripting():  # which cannot compile the message
        shape = (u.shape[0], *u.shape[2:])
        if mask.dtype != torch.bool or tuple(mask.shape) not in (shape, (shape[0], 1, *shape[1:])):
            raise ValueError(
                f"the mask of a map {tuple(u.shape)} must be boolean, true where a position "
                f"counts, of shape {shape}; got {mask.dtype} of shape {tuple(mask.shape)}"
            )
    return mask.reshape_as(u[:, :1])


def excite(
    z: Tensor,
    w1: Tensor,
    b1: Tensor | None,
    w2: Tensor,
    b2: Tensor | None,
    activation: Callable[[Tensor], Tensor] = F.relu,
    gate: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> Tensor:
    """Equation 3: s = gate(W2 activation(W1 z + b1) + b2), a bottleneck of two layers.

    Args:
        z: squeezed map ``[B, C]``.
        w1: weight ``[R, C]`` of the layer that reduces to R = C / r channels; b1: bias ``[R]``.
        w2: weight ``[C, R]`` of the layer that restores C channels; b2: bias ``[C]``.
        activation: δ of the paper, ReLU.
        gate: σ of the paper, sigmoid.

    Returns:
        s, ``[B, C]``: with a sigmoid, one number in (0, 1) per image and channel.

    Example:
        >>> excite(torch.ones(1, 2), torch.ones(1, 2), None, torch.zeros(2, 1), None)
        tensor([[0.5000, 0.5000]])
    """
    return gate(F.linear(activation(F.linear(z, w1, b1)), w2, b2))


def scale(u: Tensor, s: Tensor, mask: Tensor | None = None) -> Tensor:
    """Equation 4: every channel of every image times its gate.

    Args:
        u: feature map ``[B, C, *space]``.
        s: gates ``[B, C]`` or ``[B, C, 1, 1]``; or one gate per position, of the dimensions
            of ``u``.
        mask: the positions that count, as for :func:`squeeze`; the output is 0 at the others.
            Values there, even NaN, in the map or in the gradient of the output, do not contribute
            to the gradient of ``s``, which is a sum over positions.

    Returns:
        s · u, of the shape, the type and the memory format of ``u``.

    Raises:
        ValueError: if the mask does not fit the map.

    Example:
        >>> scale(torch.ones(1, 2, 2), torch.tensor([[0.5, 2.0]]))
        tensor([[[0.5000, 0.5000],
                 [2.0000, 2.0000]]])
    """
    if s.dim() != u.dim():
        s = s.reshape([s.shape[0], s.shape[1]] + [1] * (u.dim() - 2))
    if s.dtype != u.dtype:  # autocast has changed their type
        s = s.to(u.dtype)
    if mask is None:
        return u * s
    hidden = ~mask_of(u, mask)  # applied twice: to the input map, and to the gradient
    return (u.masked_fill(hidden, 0) * s).masked_fill(hidden, 0)
