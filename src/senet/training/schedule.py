"""The learning rate of every step as a pure function, with no state to save or resume."""

from __future__ import annotations

import math

from senet.training.config import TrainConfig

ONECYCLE_RISE = 0.3
ONECYCLE_START = 1 / 25
ONECYCLE_END = 1 / 250_000


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step.

    It rises linearly to ``lr`` over ``config.warmup`` epochs. Afterwards, with p the share 0 … 1 of
    the remaining steps that are done, it is:

    * ``"cosine"``: lr (1 + cos πp) / 2, arXiv 1608.03983 without restarts;
    * ``"step"``: lr, multiplied by ``gamma`` at each epoch of ``milestones``;
    * ``"onecycle"``: from lr/25 up to lr while p < 0.3, then down to lr/250000, both along a
      half cosine (arXiv 1708.07120, with the constants of PyTorch's scheduler).

    Args:
        config: names the schedule and its numbers.
        step: from 0, counted over the whole training.
        steps_per_epoch: optimizer steps per epoch.

    Example:
        >>> config = TrainConfig(lr=0.1, schedule="step", milestones=(2, 4), epochs=5)
        >>> [round(learning_rate(config, 10 * epoch, 10), 6) for epoch in range(5)]
        [0.1, 0.1, 0.01, 0.01, 0.001]
    """
    warm = round(config.warmup * steps_per_epoch)
    if step < warm:
        return config.lr * (step + 1) / warm
    if config.schedule == "step":
        passed = sum(step >= epoch * steps_per_epoch for epoch in config.milestones)
        return config.lr * config.gamma**passed
    shape = {"cosine": _cosine, "onecycle": _onecycle}[config.schedule]
    return config.lr * shape((step - warm) / (config.epochs * steps_per_epoch - warm))


def _cosine(p: float) -> float:
    return (1 + math.cos(math.pi * p)) / 2


def _onecycle(p: float) -> float:
    if p < ONECYCLE_RISE:
        return _between(ONECYCLE_START, 1.0, p / ONECYCLE_RISE)
    return _between(1.0, ONECYCLE_END, (p - ONECYCLE_RISE) / (1 - ONECYCLE_RISE))


def _between(start: float, end: float, p: float) -> float:
    """Return the point ``p`` on the half cosine from ``start`` to ``end``."""
    return end + (start - end) * _cosine(p)
