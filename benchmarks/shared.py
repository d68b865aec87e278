"""A training step next to other programs, by how long threads spin.

``python -m benchmarks.shared``.

Every setting runs in its own process, with PyTorch's runtime as it would start there: alone, next
to one competitor per core, and next to a single one of another session (a second terminal, a
service). It starts these itself.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import record
from senet.spin import CHOSEN, COUNT, VARIABLE

SETTINGS = {
    "the runtime's own": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    **{f"{count} turns": {VARIABLE: count} for count in ("3000", "10000", COUNT)},
}
BUSY = "while True: pass"


def step_ms(model: str, batch: int, size: int, steps: int) -> float:
    """Return the median milliseconds of an accelerated training step, in this process."""
    from benchmarks.models import networks

    images = networks._images(batch, size)
    step = networks.training_step(networks._ours(model), images)
    return networks.in_turn({model: step}, steps)[model]


def measure(setting: dict[str, str], *of: object) -> float:
    """Call :func:`step_ms` in a process with these settings."""
    environment = {k: v for k, v in os.environ.items() if k not in CHOSEN} | setting
    code = f"from benchmarks.shared import step_ms; print(step_ms(*{of!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


@contextmanager
def beside(competitors: int, *, session: bool) -> Iterator[None]:
    """Keep cores busy with processes of this session, or each of a session of its own."""
    busy = [
        subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=session)
        for _ in range(competitors)
    ]
    try:
        yield
    finally:
        for competitor in busy:
            competitor.kill()


SURROUNDINGS = {
    "alone": (0, False),
    "one a core": (os.cpu_count() or 1, False),
    "one of another session": (1, True),
}


def table(rounds: int) -> dict[str, dict[str, float]]:
    """Return the milliseconds of a step in each surrounding, by setting, in turn."""
    of = ("se_resnet8_cifar", 128, 28, 12)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in SETTINGS}
    for _ in range(rounds):
        for surrounding, (competitors, session) in SURROUNDINGS.items():
            with beside(competitors, session=session):
                for name, setting in SETTINGS.items():
                    found[name].setdefault(surrounding, []).append(measure(setting, *of))
    return {name: {k: statistics.median(v) for k, v in ms.items()} for name, ms in found.items()}


if __name__ == "__main__":
    environment = record.environment()
    result = table(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    print(json.dumps(result, indent=2))
    print(record.write("cpu-shared", {"shared": result}, environment))
