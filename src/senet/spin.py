"""How long threads wait in a loop before they sleep: what makes a shared machine slow.

PyTorch's threads share the work of every operation and then wait for one another. GNU's OpenMP lets
them wait in a loop of some milliseconds, since a thread that sleeps takes some microseconds to
wake. Where another program has one of the cores, the thread that all the others wait for is not
running, and they wait in the way of it: a step takes several times as long as what the other
program takes would explain. ``python -m benchmarks.shared`` measures it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

VARIABLE = "GOMP_SPINCOUNT"
COUNT = "30000"  # turns of the loop, a tenth of what the runtime takes by itself
# Whoever sets one of these has chosen.
CHOSEN = (VARIABLE, "OMP_WAIT_POLICY")


def spin_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let the threads that PyTorch is going to start wait briefly, and then sleep.

    To be called before PyTorch is imported: its OpenMP runtime reads the environment once. Does
    nothing afterwards, or where the user has chosen.
    """
    if "torch" not in sys.modules and not any(name in environment for name in CHOSEN):
        environment[VARIABLE] = COUNT


def described(environment: MutableMapping[str, str] = os.environ) -> str:
    """Say how the threads of this process wait.

    Example:
        >>> described({"OMP_WAIT_POLICY": "PASSIVE"})
        'OMP_WAIT_POLICY=PASSIVE'
    """
    found = [f"{name}={environment[name]}" for name in CHOSEN if name in environment]
    return (
        ", ".join(found) or f"for long, as a quiet machine wants it; {VARIABLE}={COUNT} if shared"
    )
