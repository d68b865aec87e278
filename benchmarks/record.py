"""The environment of a benchmark, and the files that keep its figures."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

import senet
from senet.files import write_text
from senet.ops import backend

RESULTS = Path(__file__).parent / "results"
# With these in the environment, glibc returns no memory to the system.
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(10**11)}


def environment() -> dict[str, Any]:
    """Return device, versions and threads, without which a figure means nothing."""
    found = {
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        "senet": senet.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "allocator": "keeps memory" if os.environ.get("MALLOC_MMAP_MAX_") == "0" else "default",
        "load_before": os.getloadavg()[0],
        "backends": backend.explain().splitlines(),
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.version.cuda
    return found


def _processor() -> str:
    """Return the processor's name, widest vectors and number of cores."""
    facts = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else ():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    vectors = next((v for v in ("avx512f", "avx2") if v in facts.get("flags", "").split()), "")
    name = facts.get("model name", platform.processor() or platform.machine())
    return f"{name}, {os.cpu_count()} cores {vectors}".strip()


def keep_memory(module: str) -> None:
    """Restart ``python -m module`` with an allocator that returns no memory to the system.

    By default glibc takes fresh memory for every large map, with a fault for each page: on a
    virtual machine that can be half of all time, the same for all forms. PyTorch's own guide to
    speed on CPUs advises an allocator that keeps its memory; this turns glibc's into one.
    """
    if any(os.environ.get(name) != value for name, value in KEEPING.items()):
        os.environ.update(KEEPING)
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])


def write(name: str, tables: dict[str, Any], environment: dict[str, Any]) -> Path:
    """Write ``tables`` to ``results/<date>-<name>.json``, replacing a record of the same day."""
    path = RESULTS / f"{environment['date']}-{name}.json"
    keep(path, tables, environment)
    return path


def keep(path: Path, tables: dict[str, Any], environment: dict[str, Any]) -> None:
    """Write a record so that, whatever happens meanwhile, either the old or the new one exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"environment": environment, "tables": tables}, indent=1) + "\n"
    write_text(path, content)
