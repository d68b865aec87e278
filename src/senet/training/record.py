"""The record of the steps of one epoch."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor


class EpochRecord:
    """Loss, hits and time of every step of an epoch so far.

    Losses and hits stay on the device until the epoch is over, so adding them waits for nothing.
    The record is saved in checkpoints, so that the figures of an interrupted epoch cover all of it.

    Args:
        steps: steps per epoch.

    Example:
        >>> record = EpochRecord(steps=2)
        >>> record.start_clock()
        >>> for loss, hits in (2.0, 1), (1.0, 3):
        ...     record.add(torch.tensor(loss), torch.tensor(hits), images=4)
        ...     record.tick()
        >>> record.loss, record.accuracy, record.first_not_finite
        (1.5, 0.5, None)
    """

    def __init__(self, steps: int) -> None:
        self.losses = torch.zeros(steps)
        self.hits = torch.zeros(steps, dtype=torch.int64)
        self.clear()

    def clear(self) -> None:
        """Begin an epoch."""
        self.done = 0
        self.images = 0
        self.times: list[float] = []
        self.start_clock()

    def to(self, device: torch.device) -> None:
        self.losses, self.hits = self.losses.to(device), self.hits.to(device)

    def start_clock(self) -> None:
        """Begin the time of the next step."""
        self._since = time.perf_counter()

    def tick(self) -> None:
        """End the time of a step and begin that of the next: waiting for images counts too.

        On a GPU, once its queue is full, the time between two ends is that of one step's work.
        """
        now = time.perf_counter()
        self.times.append(now - self._since)
        self._since = now

    def add(self, loss: Tensor, hits: Tensor, images: int) -> None:
        """Add a step: its loss, how many images were classified correctly, and of how many."""
        self.losses[self.done] = loss
        self.hits[self.done] = hits
        self.done += 1
        self.images += images

    @property
    def loss(self) -> float:
        """Mean loss over the steps."""
        return self.losses[: self.done].double().mean().item()

    @property
    def accuracy(self) -> float:
        return self.hits[: self.done].sum().item() / max(self.images, 1)

    @property
    def seconds(self) -> float:
        return sum(self.times)

    @property
    def step_ms(self) -> float:
        """Median time of a step, in milliseconds."""
        return 1000 * statistics.median(self.times) if self.times else 0.0

    @property
    def first_not_finite(self) -> int | None:
        """The first step, from 0, whose loss is infinite or not a number."""
        bad = ~self.losses[: self.done].isfinite()
        return int(bad.int().argmax()) if bad.any() else None

    def state_dict(self) -> dict[str, Any]:
        return {
            "losses": self.losses[: self.done].cpu(),
            "hits": self.hits[: self.done].cpu(),
            "images": self.images,
            "times": list(self.times),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done, self.images = len(state["losses"]), state["images"]
        self.losses[: self.done] = state["losses"]
        self.hits[: self.done] = state["hits"]
        self.times = list(state["times"])
