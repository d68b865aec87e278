"""The minutes that a stage may take."""

from __future__ import annotations

import time
from collections.abc import Callable


class Budget:
    """Minutes from now on. A stage asks before each piece of work whether it still fits.

    Args:
        minutes: the whole budget.
        clock: returns seconds from any starting point.

    Example:
        >>> budget = Budget(1, clock=iter([0, 50, 50]).__next__)
        >>> budget.left, budget.allows(20)
        (10, False)
    """

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        if minutes <= 0:
            raise ValueError(f"minutes must be greater than 0, got {minutes}")
        self._clock = clock
        self._end = clock() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds left."""
        return self._end - self._clock()

    def allows(self, seconds: float = 0.0) -> bool:
        """Return whether work of this duration ends in time."""
        return self.left > seconds
