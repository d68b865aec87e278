"""The folder for files that can be downloaded or computed again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$SENET_HOME``, or ``senet`` in ``$XDG_CACHE_HOME``, or else in ``~/.cache``.

    Files from the Hugging Face hub are in the hub's own cache, ``$HF_HOME``.
    """
    if home := os.environ.get("SENET_HOME"):
        return Path(home).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "senet"
