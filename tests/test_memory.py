"""The allocator and the threads of a process, seen from outside it."""

import json
import os
import subprocess
import sys

import pytest

from senet import spin
from senet.memory import CHOSEN, keep_memory

FAULTS = """
import json, resource, sys
{first}
import numpy as np
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(12_000_000, np.float32)  # 48 MB, which are gone at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(json.dumps(faults()))
"""


def python(code, **settings):
    unset = {k: v for k, v in os.environ.items() if k not in (*CHOSEN, *spin.CHOSEN)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=unset | settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not keep_memory().startswith("kept"), reason=keep_memory())
def test_memory_that_is_kept_is_not_fetched_again():
    again = python(FAULTS.format(first=""))
    kept = python(FAULTS.format(first="from senet import keep_memory; keep_memory()"))
    assert kept < 20
    assert again > 20 * 20  # in pages of 2 MB, if the system has them


def test_who_has_chosen_an_allocator_keeps_it(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert keep_memory() == "left as it is: MALLOC_TRIM_THRESHOLD_ is set"


SPUN = """
import json, os
from typer.testing import CliRunner
from senet.cli import app
assert CliRunner().invoke(app, ["doctor"]).exit_code in (0, 1)
print(json.dumps([os.environ.get("GOMP_SPINCOUNT"), os.environ.get("OMP_WAIT_POLICY")]))
"""


@pytest.mark.parametrize(
    ("settings", "after"),
    [
        ({}, [spin.COUNT, None]),
        ({"GOMP_SPINCOUNT": "7"}, ["7", None]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, [None, "ACTIVE"]),
    ],
)
def test_the_command_line_says_how_long_threads_spin_unless_the_user_has(settings, after):
    assert python(SPUN, **settings) == after


def test_once_pytorch_runs_nothing_is_set():
    import torch  # noqa: F401

    environment: dict[str, str] = {}
    spin.spin_briefly(environment)
    assert environment == {}
    assert "for long" in spin.described(environment)
