"""Timing on a device: by its own events, by medians, in turn."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

L2 = 256 << 20
"""More bytes than any cache of a GPU holds: overwriting them leaves nothing else in it."""


def in_turn(
    calls: Mapping[str, Callable[[], object]],
    device: torch.device,
    rounds: int,
    many: int = 1,
    cold: bool = False,
) -> dict[str, float]:
    """Return the median milliseconds of each call, the calls taking turns.

    Args:
        calls: the calls by name; each has run before, so that everything is compiled.
        device: the device on which they work.
        rounds: rounds over which the median is taken.
        many: number of calls in a row to time together, as in a training: while the device works
            on one, the next is being launched.
        cold: overwrite the device's cache before each, as a network does between its layers. It
            also keeps the device busy until the call is launched, so only the device is timed.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(_once(call, device, many, cold) / many)
    return {name: statistics.median(taken) for name, taken in times.items()}


def _once(call: Callable[[], object], device: torch.device, many: int, cold: bool) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(many):
            call()
        return 1000 * (time.perf_counter() - start)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    if cold:
        _flusher(device).zero_()
    start.record()
    for _ in range(many):
        call()
    end.record()
    torch.cuda.synchronize(device)
    return start.elapsed_time(end)


@functools.cache
def _flusher(device: torch.device) -> Tensor:
    return torch.empty(L2, dtype=torch.int8, device=device)


def wait(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
