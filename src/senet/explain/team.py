"""The processes that work on one explanation: those that torchrun has started, or one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """Several processes, of which this is one.

    Attributes:
        rank: the number of this process.
        size: the number of processes.
    """

    rank: int = 0
    size: int = 1

    def share(self, n: int, batch: int = 1) -> np.ndarray:
        """Return which of ``n`` images are this process's: whole batches that follow one another.

        Example:
            >>> [Team(rank, 2).share(10, 4).tolist() for rank in range(2)]
            [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]
        """
        batches = -(-n // batch)
        low, high = (batches * end // self.size * batch for end in (self.rank, self.rank + 1))
        return np.arange(low, min(high, n))

    def gathered(self, mine: T) -> list[T]:
        """Return what every process gives, in the order of their numbers, in each of them."""
        if self.size == 1:
            return [mine]
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, mine)
        return parts


@contextmanager
def team() -> Iterator[Team]:
    """Yield the processes that torchrun has started; without torchrun, this one alone."""
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        yield Team()
        return
    distributed.init_process_group("gloo")  # objects are gathered, never feature maps
    try:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        yield Team(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
