"""A linear classifier on features, fitted to convergence, its weight decay chosen on validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

DECAYS = tuple(10 ** (-half / 2) for half in range(13))
"""The weight decays that are tried, from 1 down to a millionth."""

PATIENCE = 3
"""Decays in a row without a better validation loss, after which weaker ones are not tried."""

HELD_OUT = 5
"""Without validation images, each fifth training image of a class is held out for the choice."""


@dataclass(frozen=True)
class Linear:
    """A linear classifier: features ``[n, D]`` to logits ``features @ weight.T + bias``.

    Attributes:
        weight: ``[K, D]``.
        bias: ``[K]``.
        decay: the weight decay that was chosen; it applies to standardized features.
    """

    weight: Tensor
    bias: Tensor
    decay: float

    def __call__(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight, self.bias)


def fit_linear(
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor] | None,
    classes: int,
    weights: Tensor | None = None,
) -> Linear:
    """Return the linear classifier that generalises best.

    It minimises the mean cross-entropy plus decay/2 · |W|², on features of mean 0 and variance 1,
    with L-BFGS. The decay is that of the lowest validation loss, which tells decays apart on fewer
    images than the accuracy does. Without validation images some are held out for the choice, and
    the fit with the chosen decay is to all.

    Args:
        train: features ``[n, D]`` and labels ``[n]``.
        val: those of the validation images, if there are any.
        classes: K.
        weights: how much an image of each class counts, ``[K]``.

    Example:
        >>> x = torch.cat((torch.randn(50, 2) - 3, torch.randn(50, 2) + 3))
        >>> y = torch.arange(100) // 50
        >>> linear = fit_linear((x, y), None, classes=2)
        >>> (linear(x).argmax(1) == y).float().mean() > 0.95
        tensor(True)
    """
    if val is not None:
        return _best(train, val, classes, weights)
    held = torch.from_numpy(_held_out(train[1].numpy()))
    if not held.any():  # one image of each class: nothing to choose by
        return next(_fits(train, classes, [0.01], weights))
    part, rest = (tuple(t[which] for t in train) for which in (~held, held))
    decay = _best(part, rest, classes, weights).decay  # type: ignore[arg-type]
    return next(_fits(train, classes, [decay], weights))


def _best(
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    classes: int,
    weights: Tensor | None,
) -> Linear:
    best, lowest, since = None, float("inf"), 0
    for linear in _fits(train, classes, DECAYS, weights):
        loss = F.cross_entropy(linear(val[0]), val[1], weights).item()
        since += 1
        if loss < lowest:
            best, lowest, since = linear, loss, 0
        if since == PATIENCE:
            break
    assert best is not None
    return best


def _fits(
    train: tuple[Tensor, Tensor], classes: int, decays: Sequence[float], weights: Tensor | None
) -> Iterator[Linear]:
    """Yield a classifier for each decay; the fit of each begins where that of the last ended."""
    features, labels = train
    std, mean = torch.std_mean(features, 0, correction=0)
    std = std.clamp(min=1e-6)
    x = (features - mean) / std
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    for decay in decays:
        _minimise(weight, bias, x, labels, decay, weights)
        w = weight.detach() / std
        yield Linear(w, bias.detach() - w @ mean, decay)


def _minimise(
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    labels: Tensor,
    decay: float,
    weights: Tensor | None,
) -> None:
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=500,
        tolerance_grad=1e-5,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(x, weight, bias), labels, weights)
        value = value + decay / 2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]


def _held_out(labels: np.ndarray) -> np.ndarray:
    """Return which images are held out: every fifth of a class, and one where it has two to four.

    Example:
        >>> _held_out(np.array([0, 0, 0, 0, 0, 0, 1, 1, 2])).astype(int)
        array([0, 1, 0, 0, 0, 0, 0, 1, 0])
    """
    held = np.zeros(len(labels), bool)
    for k in np.unique(labels):
        held[np.flatnonzero(labels == k)[1::HELD_OUT]] = True
    return held
