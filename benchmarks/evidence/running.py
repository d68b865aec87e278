"""A process holds the training it is at and gives way to others; ``make evidence-pause`` stops it.

This loads nothing else.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def give_way() -> None:
    """Let the programs of other sessions run first, where this process leads a session of its own.

    Linux shares the processor among sessions before it looks at ``nice``, which counts within one;
    how much a session gets is set in a file (``man 7 sched``, autogroups).
    """
    place = Path("/proc/self/autogroup")
    if place.exists() and os.getsid(0) == os.getpid():
        place.write_text("19")


@contextmanager
def held(place: Path) -> Iterator[bool]:
    """Hold a file, with this process's number in it; whatever ends the process lets go of it.

    It yields whether the file could be had: ``False`` if another process holds it.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield True


def of_training(folder: Path, name: str) -> Path:
    """Return the file that the process holds which is at a training."""
    return folder / f"{name}.process"


def of_folder(folder: Path) -> Path:
    """Return the file that a process holds which has a whole folder: one of before 2026-11-30."""
    return folder / "process"


def pause(folder: Path) -> str:
    """Stop all processes that train in a folder, wait until they are gone, and say what was done.

    Each writes a checkpoint of the step it is at; one that was suspended wakes up to do so.
    """
    stopped = [_stop(place) for place in (of_folder(folder), *sorted(folder.glob("*.process")))]
    numbers = [str(process) for process in stopped if process is not None]
    if not numbers:
        return f"nothing trains in {folder}"
    who = f"process {numbers[0]} has" if len(numbers) == 1 else f"{' and '.join(numbers)} have"
    return f"{who} stopped; `make evidence` goes on where it was"


def _stop(place: Path) -> int | None:
    """Stop the process that holds a file, wait until it has let go, and return its number."""
    if not place.exists():
        return None
    with place.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = int(file.read())
            os.kill(process, signal.SIGTERM)
            os.kill(process, signal.SIGCONT)
            fcntl.flock(file, fcntl.LOCK_EX)
            return process
        return None


if __name__ == "__main__":
    print(pause(Path(sys.argv[1])))
