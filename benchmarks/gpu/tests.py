"""The tests of the kernels on the GPU: what is fast must first be right.

There is a row per file: how many tests passed, and which did not. Each file runs in its own
process, or in several if pytest-xdist is installed: most of the time goes into compiling kernels.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.gpu.budget import Budget
from benchmarks.ledger import Ledger, Row

ROOT = Path(__file__).parent.parent.parent
FILES = (
    "tests/ops/test_triton.py",
    "tests/ops/test_tail.py",
    "tests/ops/test_activated.py",
    "tests/nn/test_devices.py",
)
SMALL = ("tests/ops/test_reference.py",)
WORKERS = 8
COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")


class RedError(RuntimeError):
    """A test has failed, so no speed is reported."""


def run(ledger: Ledger, budget: Budget, device: torch.device, small: bool) -> None:
    """Run the files that have not passed yet with this code.

    Raises:
        RedError: if a test fails; the record says which.
    """
    red = []
    for file in SMALL if small else FILES:
        key = {"file": file}
        found = ledger.find(key)
        if found is None or not is_green(found):
            if not budget.allows(10):
                break
            found = ledger.measure(key, lambda: _row(file, budget.left))  # noqa: B023
            print(line(found), flush=True)
        red += [] if is_green(found) else [file]
    if red:
        raise RedError(f"tests fail in {', '.join(red)}: see {ledger.path}")


def is_green(row: Row) -> bool:
    return row.get("exit") == 0 and row.get("passed", 0) > 0


def _row(file: str, seconds: float) -> Row:
    command = [sys.executable, "-m", "pytest", file, "-v", "--tb=line", "-p", "no:cacheprovider"]
    if importlib.util.find_spec("xdist"):
        command += ["-n", str(min(WORKERS, os.cpu_count() or 1))]
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    start = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"exit": None, "failed": f"not finished within {seconds:.0f} s"}
    return {"exit": done.returncode, "seconds": time.monotonic() - start, **outcome(done.stdout)}


def outcome(output: str) -> Row:
    r"""Return the counts and the failed tests in pytest's output.

    Example:
        >>> outcome("FAILED tests/a.py::b - no\n=== 1 failed, 20 passed, 3 skipped in 2.1s ===")
        {'red': ['tests/a.py::b'], 'failed': 1, 'passed': 20, 'skipped': 3}
    """
    last = next((x for x in reversed(output.splitlines()) if COUNT.search(x)), "")
    red = re.findall(r"(?m)^(?:FAILED|ERROR) (\S+)", output)
    counts = {what: int(count) for count, what in COUNT.findall(last)}
    return {"red": sorted(set(red)), **counts}


def line(row: Row) -> str:
    figures = {k: v for k, v in row.items() if k not in ("file", "red")}
    return "\n  ".join([f"{row['file']}: {figures}", *row.get("red", [])])
