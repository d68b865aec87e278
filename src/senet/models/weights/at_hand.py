"""The weights that are on this machine already."""

from __future__ import annotations

from pathlib import Path

from senet import known
from senet.models.weights import hub
from senet.models.weights.download import cached
from senet.models.weights.find import SUFFIXES
from senet.models.weights.published import list_weights, published
from senet.paths import is_url


def downloaded() -> list[str]:
    """Return the names of the published sets that were downloaded before.

    Example:
        >>> set(downloaded()) <= set(list_weights())
        True
    """
    return [name for name in list_weights() if _is_here(published(name).source)]


def _is_here(source: str) -> bool:
    if known.shipped(source):
        return False
    if is_url(source):
        return cached(source).is_file()
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(source, name) for name in hub.WEIGHTS)
    return any(isinstance(file, str) for file in found)


def beside(folder: Path) -> list[Path]:
    """Return the files of weights in the folder that holds ``folder``."""
    try:
        return sorted(file for file in folder.resolve().parent.iterdir() if file.suffix in SUFFIXES)
    except OSError:
        return []
