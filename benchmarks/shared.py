"""A training step next to other programs, by how long threads spin.

``python -m benchmarks.shared``.

Every setting runs in its own process, with PyTorch's runtime as it would start there: alone, and
next to one competitor per core, which this starts itself.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

from benchmarks import record
from senet.spin import CHOSEN, COUNT, VARIABLE

SETTINGS = {
    "the runtime's own": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"{count} turns": {VARIABLE: count} for count in ("1000", COUNT, "100000")},
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


def table(rounds: int) -> dict[str, dict[str, float]]:
    """Return the milliseconds of a step, alone and next to competitors, by setting, in turn."""
    of = ("se_resnet8_cifar", 128, 28, 20)
    found: dict[str, dict[str, list[float]]] = {
        name: {"alone": [], "shared": []} for name in SETTINGS
    }
    for _ in range(rounds):
        for name, setting in SETTINGS.items():
            found[name]["alone"].append(measure(setting, *of))
        cores = range(os.cpu_count() or 1)
        competitors = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in cores]
        try:
            for name, setting in SETTINGS.items():
                found[name]["shared"].append(measure(setting, *of))
        finally:
            for competitor in competitors:
                competitor.kill()
    return {name: {k: statistics.median(v) for k, v in ms.items()} for name, ms in found.items()}


if __name__ == "__main__":
    environment = record.environment()
    result = table(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    print(json.dumps(result, indent=2))
    print(record.write("cpu-shared", {"shared": result}, environment))
