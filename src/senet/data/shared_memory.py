"""The error for a loader whose processes run out of shared memory, as in small containers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

# Signs in PyTorch's message: a process was killed by the system, or could not get its share.
SIGNS = ("bus error", "shared memory", "/torch_", "unable to mmap")


class SharedMemoryError(OSError):
    """The error for too little shared memory, in which a loader's processes hand over batches."""


@contextmanager
def enough_shared_memory() -> Iterator[None]:
    """Add the remedy to errors about shared memory within the context.

    Raises:
        SharedMemoryError: instead of PyTorch's own error.

    Example:
        >>> with enough_shared_memory():
        ...     raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error.")
        Traceback (most recent call last):
        senet.data.shared_memory.SharedMemoryError: the processes that read images have run out ...
    """
    try:
        yield
    except (RuntimeError, OSError) as error:
        if not any(sign in str(error).lower() for sign in SIGNS):
            raise
        raise SharedMemoryError(
            f"the processes that read images have run out of shared memory{_size()}. Read images in"
            " this process, with --workers 0; or give more of it (docker run --shm-size=2g, or"
            " mount -o remount,size=2G /dev/shm)"
        ) from error


def _size() -> str:
    try:
        return f": /dev/shm has {shutil.disk_usage('/dev/shm').total / 1e6:,.0f} MB"
    except OSError:
        return ""
