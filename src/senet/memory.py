"""Keep memory instead of giving it back: what large maps cost a plain Python process.

Every feature map of some megabytes is memory that the system hands out page by page, and that
glibc's allocator gives back as soon as the map is gone. On a virtual machine the page faults can
take as long as the arithmetic. PyTorch's performance guide advises an allocator that keeps its
memory (jemalloc, tcmalloc, or glibc's own with settings in the environment); this module makes the
allocator in use keep it, from within the process.
"""

from __future__ import annotations

import ctypes
import os
import platform

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
# A user who sets one of these has chosen.
CHOSEN = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES",
          "LD_PRELOAD")  # fmt: skip


def keep_memory() -> str:
    """Let glibc's allocator keep the memory that it has, for the rest of the process.

    The process stays as large as it was at its largest. A library never does this unasked; the
    command line does. The environment does the same for a process that has yet to start:
    ``MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000``.

    Returns:
        What was done, or why nothing was done.

    Example:
        >>> from senet import keep_memory
        >>> isinstance(keep_memory(), str)
        True
    """
    if chosen := [name for name in CHOSEN if name in os.environ]:
        return f"left as it is: {', '.join(chosen)} is set"
    if platform.libc_ver()[0] != "glibc":
        return "left as it is: the allocator is not glibc's"
    allocator = ctypes.CDLL(None)
    # No feature map gets a mapping of its own, which would go with it, and the heap is not trimmed.
    if not (allocator.mallopt(_MMAP_MAX, 0) and allocator.mallopt(_TRIM_THRESHOLD, -1)):
        return "left as it is: the allocator refuses"
    return "kept: glibc's allocator gives none back"
