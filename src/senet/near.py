"""Suggestions for a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near(name: str, known: Iterable[str]) -> str:
    """Return a question for the error message about an unknown name; empty if nothing is near.

    Example:
        >>> near("reducton", ["reduction", "squeeze"])
        ' Did you mean reduction?'
    """
    found = get_close_matches(name, list(dict.fromkeys(known)), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(found)}?" if found else ""
