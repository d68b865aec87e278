"""The 1000 classes of ImageNet's challenge: their WordNet ids and their names.

They are in the usual order, that of the ids; :mod:`senet.models.weights.ilsvrc` has the other one.
"""

from __future__ import annotations

import functools
from pathlib import Path

TABLE = Path(__file__).with_name("imagenet.tsv")


@functools.cache
def _rows() -> list[list[str]]:
    return [row.split("\t") for row in TABLE.read_text(encoding="utf-8").splitlines()]


@functools.cache
def wordnet_ids() -> tuple[str, ...]:
    """Return the ids, which folders of ImageNet's images have as names.

    Example:
        >>> wordnet_ids()[0]
        'n01440764'
    """
    return tuple(id for id, _ in _rows())


@functools.cache
def class_names() -> tuple[str, ...]:
    """Return the names, each a different one.

    Example:
        >>> class_names()[0], class_names()[-1]
        ('tench', 'toilet tissue')
    """
    return tuple(name for _, name in _rows())
