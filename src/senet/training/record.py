"""What happened in the steps of one epoch."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor


class EpochRecord:
    """Loss, hits and time of every step of an epoch, so far.

    Losses and hits stay on the device until the epoch is over: adding one waits for nothing. The
    record goes into checkpoints, so that the figures of an interrupted epoch are those of the
    whole.

    Args:
        steps: of an epoch.

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
        """The next step begins now."""
        self._since = time.perf_counter()

    def tick(self) -> None:
        """A step ends now, and the next begins: waiting for images counts too.

        A GPU works through its queue in the time between two ends, once the queue is full.
        """
        now = time.perf_counter()
        self.times.append(now - self._since)
        self._since = now

    def add(self, loss: Tensor, hits: Tensor, images: int) -> None:
        """Note a step: its loss, how many images were classified rightly, and of how many."""
        self.losses[self.done] = loss
        self.hits[self.done] = hits
        self.done += 1
        self.images += images

    @property
    def loss(self) -> float:
        """Mean over the steps."""
        return self.losses[: self.done].double().mean().item()

    @property
    def accuracy(self) -> float:
        return self.hits[: self.done].sum().item() / max(self.images, 1)

    @property
    def seconds(self) -> float:
        return sum(self.times)

    @property
    def step_ms(self) -> float:
        """Median."""
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
