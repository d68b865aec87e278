"""The images of a run: recorded when it begins, reopened, and compared with the current ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from senet.data import Source, open_source
from senet.data.folder import NAMES, digests_of
from senet.data.place import images_folder
from senet.paths import is_images
from senet.preprocessing import Preprocessing
from senet.runs.folder import RunFolder

SHOWN = 3  # how many files a message names


def described(source: Source, steps: int) -> dict[str, Any]:
    """Return what ``config.json`` says about the data.

    Args:
        source: the images.
        steps: full batches per epoch.
    """
    return {
        "name": source.name,
        "path": source.path,
        "classes": list(source.classes),
        "preprocessing": asdict(source.preprocessing),
        "images": source.counts,
        "steps_per_epoch": steps,
        "record": source.record,
    }


def recorded_steps(run: RunFolder) -> int:
    """Return how many full batches the training images made when a run began."""
    data = run.read_data()
    return data.get("steps_per_epoch", _steps(run, data))


def _steps(run: RunFolder, data: Mapping[str, Any]) -> int:
    return data["images"]["train"] // run.read_config()["batch_size"]


def opened(
    config: Mapping[str, Any], data: Mapping[str, Any], place: str | Path | None = None
) -> Source:
    """Open the data of a run, in the splits that it recorded and with the same preprocessing.

    Args:
        config: what ``config.json`` says about the training.
        data: what it says about the data.
        place: where the folder of images is now, if it has moved.

    Raises:
        ValueError: if they cannot be opened.
    """
    given = data.get("preprocessing")
    return open_source(
        place or data.get("path") or config["data"],
        limit=config.get("limit"),
        preprocessing=Preprocessing(**given) if given else None,
        record=data.get("record"),
        shrink=config.get("shrink"),
    )


def recorded_source(run: RunFolder, place: Path | None = None) -> Source:
    """Open the data of a run as :func:`opened` does, and refuse a folder without its images.

    Args:
        run: the run that recorded them.
        place: where the folder of images is now, if it has moved.

    Raises:
        FileNotFoundError: if the folder holds no run.
        ValueError: if the data are not there.
    """
    config, data = run.read_config(), run.read_data()
    if data["record"]:
        require_any(run, Path(place or data["path"] or config["data"]))
    return opened(config, data, place)


@dataclass(frozen=True)
class Changes:
    """How images differ from those of a record; false if they do not.

    Attributes:
        missing: files that no longer exist or cannot be read.
        changed: files whose content has changed.
    """

    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed)

    def __str__(self) -> str:
        parts = ((self.missing, "missing"), (self.changed, "changed"))
        return ", ".join(f"{len(f):,} {what} ({_some(f)})" for f, what in parts if f)


def changes(begun: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """Return how the images of one record differ in a later one. New images are not a change.

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
    """Refuse a folder that holds none of a run's images.

    Raises:
        ValueError: if it does not exist, or holds none of them.
    """
    record = run.read_data()["record"]
    files = [file for part in NAMES for own in record[part].values() for file in own]
    if not is_images(place):
        raise ValueError(
            f"the images of this run were in {place}, which no longer exists: say with --data"
            " where they are now"
        )
    folder = images_folder(place)
    if not any((folder / file).exists() for file in files):
        raise ValueError(
            f"{place} holds none of the images of this run ({len(files):,}), such as {files[0]}: say"
            " with --data where they are now"
        )


def note_data(run: RunFolder, source: Source, found: Changes | None = None) -> None:
    """Record in a run's folder where its images are now, and how they have changed."""
    data = run.read_data()
    if data["path"] == source.path and not found:
        return
    data["path"] = source.path
    if found:
        # An epoch keeps its number of steps: the schedule and the progress are counted in them.
        data.setdefault("steps_per_epoch", _steps(run, data))
        data["images"] = source.counts
        data["record"] = source.record
        data["changes"] = [*data.get("changes", []), str(found)]
    run.write_data(data)


def _some(files: Sequence[str]) -> str:
    return ", ".join(files[:SHOWN]) + (", ..." if len(files) > SHOWN else "")
