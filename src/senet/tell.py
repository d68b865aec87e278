"""Lines for the reader of a long command, who may go away before it ends."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def tell(text: str = "") -> None:
    """Print a line at once, also into a file. If nobody reads any more, print nothing from now on.

    On a terminal with a progress bar the line stands above it. It is never wrapped: what is in it
    can be copied whole.
    """
    import rich

    try:
        rich.get_console().print(text, highlight=False, markup=False, soft_wrap=True)
    except (OSError, SystemExit):  # rich makes the latter of a reader that went away
        nobody_reads(sys.stdout)
        rich.get_console().quiet = False  # of another command in this process, somebody may


def terminal_is_gone() -> None:
    """Print to nowhere from now on, where it went to the terminal that has been closed."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError, AttributeError):
            if os.isatty(stream.fileno()):  # type: ignore[union-attr]
                nobody_reads(stream)


def nobody_reads(stream: object) -> None:
    """Let a stream end in nothing."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
        os.close(nowhere)
