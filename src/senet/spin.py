"""The time for which threads wait in a loop before they sleep, which slows a shared machine.

PyTorch's threads share the work of every operation and then wait for one another. GNU's OpenMP lets
them wait in a loop of some milliseconds, since a thread that sleeps takes some microseconds to
wake. Where another program occupies a core, the thread that all the others wait for is not running,
and their loops keep the cores from it: a step takes several times as long as the other program's
share would explain. ``python -m benchmarks.shared`` measures it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

VARIABLE = "GOMP_SPINCOUNT"
COUNT = "30000"  # turns of the loop, a tenth of the runtime's default
# A user who sets one of these has chosen.
CHOSEN = (VARIABLE, "OMP_WAIT_POLICY")


def spin_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let the threads that PyTorch is going to start wait briefly, and then sleep.

    Call this before PyTorch is imported: its OpenMP runtime reads the environment once. It does
    nothing afterwards, or where the user has chosen.
    """
    if "torch" not in sys.modules and not any(name in environment for name in CHOSEN):
        environment[VARIABLE] = COUNT


def described(environment: MutableMapping[str, str] = os.environ) -> str:
    """Return a description of how the threads of this process wait.

    Example:
        >>> described({"OMP_WAIT_POLICY": "PASSIVE"})
        'OMP_WAIT_POLICY=PASSIVE'
    """
    found = [f"{name}={environment[name]}" for name in CHOSEN if name in environment]
    return (
        ", ".join(found) or f"for long, good on a quiet machine; set {VARIABLE}={COUNT} if shared"
    )
