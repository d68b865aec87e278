"""The GPU of the evidence: a check that there is one, and its description."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

import senet
from benchmarks import record

SOURCES = Path(senet.__file__).parent
MEASURED = ("ops", "nn", "models", "surgery")


def require(name: str, small: bool) -> torch.device:
    """Return the device to measure on.

    Args:
        name: ``"cuda"``, or ``"cpu"`` for the small scale, which shows that all of it runs.
        small: whether the small scale was asked for.

    Raises:
        ValueError: without a GPU, or for full scale on a CPU.
    """
    if name == "cpu":
        if not small:
            raise ValueError(
                "this measures a GPU; on a CPU it can only show that it runs: --device cpu --small"
            )
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError(
            f"this needs a GPU, but torch {torch.__version__} finds none here. Run it on a machine "
            "that has one, or try it at small scale: --device cpu --small"
        )
    return torch.device("cuda", torch.cuda.current_device())


def environment(device: torch.device) -> dict[str, Any]:
    """Return what every record says about where it was made."""
    found = record.environment()
    commit = _said("git", "rev-parse", "--short", "HEAD")  # empty for files without a repository
    found |= {"commit": commit, "code": fingerprint(), "triton": _triton()}
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        found |= {
            "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
            "cudnn": torch.backends.cudnn.version(),
            "memory_gib": round(facts.total_memory / 2**30, 1),
            "multiprocessors": facts.multi_processor_count,
        }
    return found


def slug(environment: dict[str, Any], device: torch.device) -> str:
    """Return the device for the name of a record: figures of two devices never share one.

    Example:
        >>> slug({"device": "NVIDIA H100 80GB HBM3"}, torch.device("cuda"))
        'nvidia-h100-80gb-hbm3'
    """
    if device.type == "cpu":
        return "cpu"
    return re.sub(r"[^a-z0-9]+", "-", environment["device"].lower()).strip("-")


def fingerprint() -> str:
    """Return eight digits that change with the measured code: passes, modules, networks, surgery.

    Example:
        >>> len(fingerprint()), fingerprint() == fingerprint()
        (8, True)
    """
    found = hashlib.sha256()
    for part in MEASURED:
        for path in sorted((SOURCES / part).rglob("*")):
            if path.suffix in (".py", ".c"):
                found.update(path.relative_to(SOURCES).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:8]


def _said(*command: str) -> str:
    """Return the first line that a program prints, or nothing if there is no such program."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(done.stdout.splitlines()), "").strip()


def _triton() -> str:
    try:
        import triton
    except ImportError:
        return ""
    return triton.__version__
