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


def archives_folder() -> Path:
    """Return the folder of what archives hold: each is in ``KEY/photos.zip``, by its own name."""
    return cache_folder() / "archives"


def name_of(file: str | os.PathLike[str]) -> str:
    """Return the name of a file or folder for people: its path, or where it is in an archive.

    Where an archive was extracted to concerns nobody, and may be deleted at any time.

    Example:
        >>> name_of("photos/cat/1.jpg")
        'photos/cat/1.jpg'
        >>> name_of(archives_folder() / "0a1b2c3d" / "photos.zip" / "cat" / "1.jpg")
        'photos.zip/cat/1.jpg'
    """
    path, above = Path(file), archives_folder()
    parts = path.relative_to(above).parts if path.is_relative_to(above) else ()
    return "/".join(parts[1:]) or os.fspath(file)
