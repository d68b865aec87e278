"""Sets of weights by name: those of others in ``published.toml``, and our own in ``trained``."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from senet import known
from senet.models.architecture import Architecture
from senet.models.weights.download import hash_in_name
from senet.models.weights.record import Record
from senet.near import near
from senet.preprocessing import IMAGENET, Preprocessing


@dataclass(frozen=True)
class Published:
    """A set of weights.

    Attributes:
        name: ``network.set``.
        source: a URL, a repository of the Hugging Face hub, or a file of the package.
        record: the network, with the options that the weights need; the preprocessing; and the
            published accuracies on the test or validation images: shares ``top1`` and ``top5``,
            where they are published.
        licence: the licence that the publisher states. On ImageNet's images see ``published.toml``.
        report: where the accuracies are published, if they are.
        tested: how they were measured, if not with the record's preprocessing.
        sha256: SHA-256 of the file, where neither the source checks it nor its name carries it.
    """

    name: str
    source: str
    record: Record
    licence: str
    report: str
    tested: str = ""
    sha256: str | None = None


def list_weights(pattern: str = "*") -> list[str]:
    """Return the names of all published sets, or of those that match a shell pattern, sorted.

    Example:
        >>> list_weights("se_resnet50.timm_a*")
        ['se_resnet50.timm_a1_in1k', 'se_resnet50.timm_a2_in1k', 'se_resnet50.timm_a3_in1k']
    """
    return sorted(fnmatch.filter(_table(), pattern))


def published(name: str) -> Published:
    """Return the published set of this name.

    Raises:
        ValueError: if there is none; the message suggests near ones.

    Example:
        >>> found = published("se_resnet50.timm_a1_in1k")
        >>> found.record.preprocessing.interpolation, found.record.metrics["top1"]
        ('bicubic', 0.81102)
    """
    if name not in _table():
        raise ValueError(
            f"no published weights {name!r}.{near(name, _table())} "
            "senet.models.list_weights() names all"
        )
    return _table()[name]


def find_published(word: str, network: str | None = None) -> Published | None:
    """Return the set that ``word`` names, of ``network`` if the word names no network itself.

    Example:
        >>> find_published("timm_a1_in1k", "se_resnet50").name
        'se_resnet50.timm_a1_in1k'
        >>> find_published("model.safetensors", "se_resnet50") is None
        True
    """
    return _table().get(f"{network}.{word}") or _table().get(word)


def published_file(name: str) -> Published | None:
    """Return the set whose file has this name, if the name carries the beginning of its hash.

    Such a file says nothing of itself, but the table does.

    Example:
        >>> published_file("se_resnet50-ce0d4300.pth").record.architecture.options
        {'stem_pool': 'ceil', 'stride_on': '1x1'}
    """
    if hash_in_name(name) is None:
        return None
    return next((p for p in _table().values() if p.source.endswith(f"/{name}")), None)


@functools.cache
def _table() -> dict[str, Published]:
    return {name: _published(name, fields) for name, fields in known.weights().items()}


def _published(name: str, fields: Mapping[str, Any]) -> Published:
    preprocessing = Preprocessing(
        size=fields["size"],
        mean=fields.get("mean", IMAGENET.mean),
        std=fields.get("std", IMAGENET.std),
        crop=fields["crop"],
        interpolation=fields["interpolation"],
    )
    architecture = Architecture(
        name.partition(".")[0],
        fields.get("num_classes", 1000),
        preprocessing.channels,
        {k: tuple(v) if isinstance(v, list) else v for k, v in fields.get("options", {}).items()},
    )
    metrics = {key: round(fields[key] / 100, 6) for key in ("top1", "top5") if key in fields}
    return Published(
        name,
        fields["source"],
        Record(architecture, preprocessing, metrics=metrics),
        fields["licence"],
        fields["report"] if metrics else "",
        fields.get("tested", ""),
        fields.get("sha256"),
    )
