"""The tests of the kernels that matter most, on the GPU: what is fast must first be right.

There is a row for each group of tests: how many passed, and which did not. Each group runs in its
own process, or in several if pytest-xdist is installed: most of the time goes into compiling
kernels.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.gpu.budget import Budget
from benchmarks.ledger import Ledger, Row

ROOT = Path(__file__).parent.parent.parent
KERNELS = "tests/ops/test_triton.py"
# One with rows of channels that fill vectors, one whose maps do not.
SHAPES = ("(3, 16, 7, 7)", "(1, 3, 5, 13)")
TYPES = ("torch.float32", "torch.bfloat16", "torch.float16")
LAYOUTS = ("contiguous", "channels last")
GROUPS = {
    "every pass, type and layout, at two shapes": [
        f"{KERNELS}::test_every_type_layout_and_shape[{'-'.join(case)}]"
        for case in itertools.product(SHAPES, TYPES, LAYOUTS)
    ],
    "whole tails, forward and backward": [
        f"{KERNELS}::test_the_whole_tail_of_a_block",
        f"{KERNELS}::test_the_whole_unit_with_an_activation",
    ],
    "CUDA graphs, torch.compile, and training steps": [
        f"{KERNELS}::test_compiled_and_captured_in_a_cuda_graph",
        "tests/nn/test_devices.py",
    ],
}
SMALL = {"the reference": ["tests/ops/test_reference.py"]}
WORKERS = 8
RESULT = "PASSED|FAILED|ERROR|SKIPPED"
# A line of pytest -v, and one with xdist.
ALONE = re.compile(rf"(?P<test>tests/\S.*?) (?P<result>{RESULT})\b")
BESIDE = re.compile(rf"\[gw\d+\] \[ *\d+%\] (?P<result>{RESULT}) (?P<test>tests/.*\S)")


def run(ledger: Ledger, budget: Budget, small: bool) -> bool:
    """Run the groups that have not passed yet with this code; return whether none is red.

    A group that does not end in time counts as it stands: what was run must have passed.
    """
    found = []
    for group, tests in (SMALL if small else GROUPS).items():
        key = {"tests": group}
        row = ledger.find(key)
        if (row is None or not is_green(row)) and budget.allows(10):
            row = ledger.measure(key, lambda: _row(tests, budget.left))  # noqa: B023
            print(line(row), flush=True)
        found.append(row)
    return all(row is None or is_green(row) for row in found)


def is_green(row: Row) -> bool:
    return row.get("passed", 0) > 0 and not row["red"]


def _row(tests: list[str], seconds: float) -> Row:
    command = [sys.executable, "-m", "pytest", *tests, "-vv", "--tb=line", "-p", "no:cacheprovider"]
    if importlib.util.find_spec("xdist"):
        command += ["-n", str(min(WORKERS, os.cpu_count() or 1))]
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    start = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its workers too
        output, _ = process.communicate()
    return {"exit": process.returncode, "seconds": time.monotonic() - start, **outcome(output)}


def outcome(output: str) -> Row:
    r"""Return what became of the tests in pytest's output, which may end in the middle.

    Example:
        >>> outcome("tests/a.py::b PASSED [50%]\n[gw1] [100%] FAILED tests/a.py::c")
        {'passed': 1, 'failed': 1, 'skipped': 0, 'red': ['tests/a.py::c']}
    """
    found = {
        match["test"]: match["result"]
        for text in output.partition("short test summary info")[0].splitlines()
        if (match := ALONE.match(text) or BESIDE.match(text))
    }
    count = Counter(found.values())
    return {
        "passed": count["PASSED"],
        "failed": count["FAILED"] + count["ERROR"],
        "skipped": count["SKIPPED"],
        "red": sorted(test for test, result in found.items() if result in ("FAILED", "ERROR")),
    }


def line(row: Row) -> str:
    figures = {k: v for k, v in row.items() if k not in ("tests", "red")}
    return "\n  ".join([f"{row['tests']}: {figures}", *row.get("red", [])])
