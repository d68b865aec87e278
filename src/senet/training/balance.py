"""Classes of unequal sizes that count the same: weights of classes, and the loss with them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def class_weights(labels: np.ndarray, classes: int) -> Tensor:
    """Return a weight for each class by which all classes together count the same.

    The mean weight of an image is 1; a class without images has weight 0.

    Example:
        >>> class_weights(np.array([0, 0, 0, 1]), 3)
        tensor([0.6667, 2.0000, 0.0000])
    """
    counts = np.bincount(labels, minlength=classes)
    there = counts > 0
    weights = np.where(there, len(labels) / (there.sum() * np.maximum(counts, 1)), 0.0)
    return torch.from_numpy(weights).float()


def mean_loss(
    logits: Tensor, targets: Tensor, weights: Tensor | None, label_smoothing: float
) -> Tensor:
    """Return the cross entropy of a batch: the mean over its images, each with its class's weight.

    With weights, PyTorch divides the sum by that of the weights in the batch. A batch without rare
    images would then count as much as one with them, and rare classes far less than frequent ones
    over an epoch. The number of images is the same in every batch, so each class counts the same.

    Args:
        logits: ``[B, K]``.
        targets: class numbers ``[B]``, or shares of classes ``[B, K]`` of mixed images.
        weights: those of :func:`class_weights`, ``[K]``.
        label_smoothing: share of the target that all classes get.

    Example:
        >>> labels, weights = torch.tensor([0, 0]), torch.tensor([0.5, 9])
        >>> mean_loss(torch.zeros(2, 2), labels, weights, 0.0)  # log(2) / 2
        tensor(0.3466)
    """
    if weights is None:
        return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    total = F.cross_entropy(
        logits, targets, weights, label_smoothing=label_smoothing, reduction="sum"
    )
    return total / len(logits)
