"""Room for the frame of a captured graph.

CPython (3.11 at least) keeps the frames of Python functions in chunks of 16 KB, and gives a chunk
back to the system as soon as its last frame returns. The function of a captured graph has a local
variable for every parameter and every map, so its frame may leave too little of a chunk for the
calls that it makes. Then each call fetches a chunk and gives it back, hundreds of times in a
training step of se_resnet50, as ``strace -f -e trace=mmap,munmap`` shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# In words of 8 bytes. A frame that is larger than a chunk gets a larger one of its own, half of
# which is left for the calls that it makes.
_WORDS = 4096


def with_room(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` with a chunk of Python's stack for it and for what it calls.

    Example:
        >>> with_room(max)(1, 2)
        2
    """

    def run(*args: Any) -> Any:
        return function(*args)

    run.__code__ = run.__code__.replace(co_stacksize=_WORDS)
    return run
