"""What is installed here, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec

from senet import spin
from senet.memory import keep_memory


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        group: the group that the check belongs to.
        name: what was checked.
        state: ``"ok"``, ``"missing"`` (and needed), or ``"absent"`` (and not needed by everybody).
        says: its version or state, and the remedy where something is wrong.
    """

    group: str
    name: str
    state: str
    says: str


def examine(backends: str) -> Iterator[Check]:
    """Yield all checks.

    Args:
        backends: one line per backend, as :func:`senet.ops.backend.explain` returns them.

    Example:
        >>> [check.state for check in examine("eager: ready") if check.name == "torch"]
        ['ok']
    """
    yield from _machine()
    for line in backends.splitlines():
        name, _, says = line.partition(": ")
        yield Check("backends", name, "ok" if says in ("ready", name) else "absent", says)
    yield from _packages()


def _machine() -> Iterator[Check]:
    system = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Check("machine", "Python", "ok", f"{system}, {sys.executable}")
    try:
        import torch
    except ImportError:
        return  # it is among the packages too, with its remedy
    cores = os.cpu_count() or 1
    threads = torch.get_num_threads()
    yield Check("machine", "CPU", "ok", f"{cores} cores, PyTorch uses {threads} threads")
    yield Check("machine", "waiting", "ok", f"threads spin: {spin.described()}")
    yield Check("machine", "memory", "ok", keep_memory())
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(i)
            memory = f"{about.total_memory / 2**30:.0f} GiB"
            yield Check("machine", f"cuda:{i}", "ok", f"{about.name}, {memory}")
    elif torch.backends.mps.is_available():
        yield Check("machine", "mps", "ok", "Apple GPU")
    else:
        yield Check("machine", "GPU", "absent", "none that PyTorch can use: everything runs on CPU")


# A line of the package's metadata: name, least version, and the extra that wants it.
_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)\s*(?:>=(?P<least>[\w.]+))?[^;]*(?:;.*extra == \W(?P<extra>\w+))?"
)
_FOR = {
    "hub": "`--data cifar10` and other data sets of the Hugging Face hub",
    "triton": "GPUs",
    "heif": "photos in HEIC, as phones write them",
}


def _packages() -> Iterator[Check]:
    try:
        requirements = metadata.requires("senet") or []
    except metadata.PackageNotFoundError:
        yield Check("packages", "senet", "missing", "not installed: pip install -e .")
        return
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        assert match, requirement
        if match["extra"] not in ("dev", "release"):  # developers' tools are nobody else's concern
            yield _package(**match.groupdict())
    if trouble := torchvision_trouble():
        yield Check("packages", "torchvision", "missing", trouble)


def torchvision_trouble() -> str:
    """Return what is wrong with a torchvision that is installed and cannot be imported, or nothing.

    senet does not use it, but its libraries import it where they find it, and fail with it.

    Example:
        >>> torchvision_trouble()
        ''
    """
    try:
        if find_spec("torchvision") is not None:
            import_module("torchvision")
    except Exception as error:  # of any kind: its compiled part does not fit
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return (
            f"installed, but cannot be imported ({reason}): it was built for another PyTorch. "
            "pip install --upgrade torch torchvision, or pip uninstall torchvision: senet does not "
            "need it"
        )
    return ""


def _package(name: str, least: str | None, extra: str | None) -> Check:
    group = "extras" if extra else "packages"
    remedy = f"pip install 'senet[{extra}]'" if extra else f"pip install '{name}>={least}'"
    wanted = f", for {_FOR.get(extra, extra)}" if extra else ""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        state = "absent" if extra else "missing"
        return Check(group, name, state, f"not installed{wanted}: {remedy}")
    if least and _numbers(version) < _numbers(least):
        return Check(group, name, "missing", f"{version} is older than {least}: {remedy}")
    return Check(group, name, "ok", version)


def _numbers(version: str) -> list[int]:
    """Return the release numbers of a version, for comparison.

    Example:
        >>> _numbers("2.13.0+cpu") > _numbers("2.7")
        True
    """
    release = re.match(r"\d+(\.\d+)*", version)
    return [int(part) for part in release[0].split(".")] if release else []
