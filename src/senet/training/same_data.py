"""Whether the images of a run that goes on are still those that it began with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from senet.data import Source
from senet.data.folder import NAMES, digests_of
from senet.training.folder import RunFolder, read_json, write_json

SHOWN = 3  # how many files a message names


@dataclass(frozen=True)
class Changes:
    """How images differ from those of a record; false where they do not.

    Attributes:
        missing: files that are not there any more, or cannot be read.
        changed: files with another content.
    """

    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed)

    def __str__(self) -> str:
        parts = ((self.missing, "missing"), (self.changed, "changed"))
        return ", ".join(f"{len(f):,} {what} ({_some(f)})" for f, what in parts if f)


def changes(begun: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """What has become of the images of one record in another. New images are no change.

    Example:
        >>> empty = {"val": {}, "test": {}}
        >>> begun = {"train": {"cat": ["cat/1.jpg", "cat/2.jpg"]}, **empty}
        >>> str(changes(begun, {"train": {"cat": ["cat/1.jpg"]}, **empty}))
        '1 missing (cat/2.jpg)'
    """
    missing: list[str] = []
    changed: list[str] = []
    for part in NAMES:
        there = {file for files in now[part].values() for file in files}
        before, after = digests_of(begun, part), digests_of(now, part)
        missing += [f for files in begun[part].values() for f in files if f not in there]
        changed += [f for f, digest in before.items() if after.get(f, digest) != digest]
    return Changes(tuple(sorted(missing)), tuple(sorted(changed)))


def require_any(run: RunFolder, place: Path) -> None:
    """Refuse a folder that is not the one of a run's images.

    Raises:
        ValueError: if it is not there, or holds none of them.
    """
    record = run.read_data()["record"]
    files = [file for part in NAMES for own in record[part].values() for file in own]
    if not place.is_dir():
        raise ValueError(
            f"the images of this run were in {place}, which is not there any more: say with --data"
            " where they are now"
        )
    if not any((place / file).exists() for file in files):
        raise ValueError(
            f"{place} holds none of the {len(files):,} images of this run, such as {files[0]}: say"
            " with --data where they are now"
        )


def note_data(run: RunFolder, source: Source, found: Changes | None = None) -> None:
    """Write into a run's folder where its images are now, and what has changed in them."""
    description = read_json(run.config_file)
    data = description["data"]
    if data["path"] == source.path and not found:
        return
    data["path"] = source.path
    if found:
        # An epoch keeps its steps: the schedule, and how far the run is, are counted in them.
        steps = data["images"]["train"] // description["config"]["batch_size"]
        data.setdefault("steps_per_epoch", steps)
        data["images"] = source.counts
        data["record"] = source.record
        data["changes"] = [*data.get("changes", []), str(found)]
    write_json(run.config_file, description)


def _some(files: Sequence[str]) -> str:
    return ", ".join(files[:SHOWN]) + (", ..." if len(files) > SHOWN else "")
