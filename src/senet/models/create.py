"""Networks by name, with random or with trained weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, overload

from senet.models.architecture import Architecture
from senet.models.features import Pyramid
from senet.models.network import Network
from senet.models.weights.pretrained import create_pretrained


@overload
def create_model(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features: None = None,
    **options: Any,
) -> Network: ...
@overload
def create_model(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features: Sequence[int],
    **options: Any,
) -> Pyramid: ...
def create_model(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features: Sequence[int] | None = None,
    **options: Any,
) -> Network | Pyramid:
    """Make a network by its name.

    Args:
        name: one of :func:`list_models`.
        weights: weights to begin with instead of random ones: a set of
            :func:`~senet.models.list_weights`, a repository of the Hugging Face hub, a URL, or a
            file; see :func:`~senet.models.find_weights`.
        num_classes: outputs of the classifier; by default those of the weights, or of the
            network's usual data set. Where the weights have others, the classifier is new, and a
            warning says so. With 0 there is no classifier: the network returns the
            ``num_features`` features of an image.
        in_channels: channels of the input image, by default those of the weights, or 3. With 1,
            weights for three channels are summed over the colours.
        features: levels of a feature pyramid, to get a :class:`~senet.models.features.Pyramid`:
            the backbone of a detector or segmenter.
        **options: options of the network, as ``entry(name).options()`` lists them. Every network
            takes ``attention`` (``"se"``, or another of :data:`~senet.models.attention.KINDS`, or
            ``None``); those with SE take ``se_stages``, ``reduction`` (also one per stage),
            ``squeeze``, ``gate``, ``se_bias`` and ``gate_bias``. Options that the weights are
            known to need are set, but options given here take precedence. Of a residual network,
            a plain state dict shows them by its names and shapes; a warning says which.

    Returns:
        The network, randomly initialised from PyTorch's global generator, with its
        :class:`~senet.models.Architecture` as ``architecture``, and the preprocessing of its
        images as ``preprocessing``.

    Raises:
        ValueError: if a name or option is unknown (the message suggests near ones), or the weights
            cannot be reached, are damaged, do not fit, or fit networks that compute different
                things.

    Example:
        >>> import torch
        >>> model = create_model("se_resnet20_cifar", num_classes=5, reduction=8)
        >>> model(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """
    if weights is None:
        model = Architecture.of(name, num_classes, in_channels, options).build()
    else:
        # Without a classifier, that of the weights is read and taken off: it fits.
        with_head = features is None and num_classes != 0
        model = create_pretrained(
            name, weights, num_classes or None, in_channels, options, with_head
        )
        if num_classes == 0:
            model.reset_classifier(0)
    return model if features is None else Pyramid(model, features)
