"""One process trains at a time, gives way to others, and ``make evidence-pause`` stops it.

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
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder, so that a second process is refused; whatever ends this one lets go of it.

    Raises:
        ValueError: if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "process").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"process {file.read()} trains in {folder} already: stop it with "
                "`make evidence-pause`, or name another --folder"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def pause(folder: Path) -> str:
    """Stop the process that trains in a folder, wait until it is gone, and say what was done.

    It writes a checkpoint of the step it is at; one that was suspended wakes up to do so.
    """
    place = folder / "process"
    if not place.exists():
        return f"nothing has been trained in {folder}"
    with place.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = int(file.read())
            os.kill(process, signal.SIGTERM)
            os.kill(process, signal.SIGCONT)
            fcntl.flock(file, fcntl.LOCK_EX)
            return f"process {process} has stopped; `make evidence` goes on where it was"
        return f"nothing trains in {folder}"


if __name__ == "__main__":
    print(pause(Path(sys.argv[1])))
