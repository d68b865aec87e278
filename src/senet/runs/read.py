"""Run folders as objects: what training left on disk, read and checked.

A file that does not exist yet means an unfinished run and is ``None`` here; a file that exists but
cannot be read raises an error that names it.
"""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from senet.runs.comparison import ComparisonFolder, Network
from senet.runs.folder import RunFolder, read_csv, read_json
from senet.runs.predictions import Predictions

_NEEDED = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class Run:
    """One training run. ``metrics`` holds the columns of its table, with one entry per epoch."""

    folder: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, np.ndarray]
    result: Mapping[str, Any] | None
    predictions: Predictions | None
    val_predictions: Predictions | None = None

    @property
    def finished(self) -> bool:
        return self.result is not None and self.predictions is not None

    @property
    def progress(self) -> str:
        """How far an unfinished run has got, in words."""
        epochs = len(self.metrics["epoch"])
        return f"has done {epochs} epoch{'' if epochs == 1 else 's'} and not finished"

    @property
    def model_file(self) -> Path:
        return RunFolder(self.folder).model_file

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.config["data"]["classes"])


@dataclass(frozen=True)
class Family:
    """Networks that were trained alike, with the same seeds.

    ``runs`` maps the name of a network to its runs, one per seed in the order of ``seeds``; a run
    that has not started is ``None``. ``cost`` has the same names.
    """

    folder: Path
    seeds: tuple[int, ...]
    runs: Mapping[str, tuple[Run | None, ...]]
    cost: Mapping[str, Mapping[str, float]] | None

    def finished(self) -> tuple[list[int], dict[str, list[Run]]]:
        """Return the seeds that all networks have finished, and their runs."""
        done = [
            i for i in range(len(self.seeds)) if all(_done(own[i]) for own in self.runs.values())
        ]
        runs = {n: [r for i in done if (r := own[i]) is not None] for n, own in self.runs.items()}
        return [self.seeds[i] for i in done], runs

    @property
    def missing(self) -> list[str]:
        """What has not finished, in words."""
        return [
            f"{name}, seed {seed}, {'has not begun' if run is None else run.progress}"
            for name, own in self.runs.items()
            for seed, run in zip(self.seeds, own, strict=True)
            if not _done(run)
        ]


def _done(run: Run | None) -> bool:
    return run is not None and run.finished


@dataclass(frozen=True)
class Twins(Family):
    """A network and its plain twin."""

    plain: str
    se: str


@dataclass(frozen=True)
class Variation(Family):
    """A family of networks that differ in one option, and their plain twin or twins.

    Attributes:
        option: the option in which they differ.
        networks: the networks, in the order of ``runs``.
        config: what all trainings have in common, with the options of SE blocks, as in the
            ``config.json`` of a run.
    """

    option: str
    networks: Mapping[str, Network]
    config: Mapping[str, Any]


def read(folder: str | os.PathLike[str]) -> Run | Twins | Variation:
    """Read a run folder: a comparison of two or more networks, or a single training run.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is not a run folder, or a file in it is damaged or does not fit the
            others; the message names the file and what to do.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no run folder {folder}")
    if ComparisonFolder(folder).file.exists():
        return _read_family(ComparisonFolder(folder))
    if RunFolder(folder).config_file.exists():
        return read_run(folder)
    raise ValueError(
        f"{folder} is not a run folder: it has neither comparison.json (of `senet compare`) nor "
        "config.json (of `senet train`). Give the folder that one of these wrote."
    )


def read_run(folder: Path) -> Run:
    """Read the folder of one training run. Raises as :func:`read`."""
    place = RunFolder(folder)
    config = _json(place.config_file)
    if config is None:
        raise ValueError(f"{place.config_file} is missing: {_again(folder)}")
    for part, name in (("config", "model"), ("data", "classes")):
        if not isinstance(config.get(part), dict) or not config[part].get(name):
            raise _damaged(place.config_file, f"it has no {name} under {part!r}")
    run = Run(
        folder,
        config,
        _metrics(place.table_file),
        _json(place.result_file),
        _predictions(place.predictions_file),
        _predictions(place.val_predictions_file),
    )
    for found, file in (
        (run.predictions, place.predictions_file),
        (run.val_predictions, place.val_predictions_file),
    ):
        if found is not None:
            _check_classes(found, file, run.classes)
    return run


def _read_family(place: ComparisonFolder) -> Twins | Variation:
    folder, path = place.path, place.file
    found = _json(path)
    assert found is not None
    try:
        plain, se, seeds = found["plain"], found["se"], tuple(found["seeds"])
        networks = {n: Network(**own) for n, own in found.get("networks", {}).items()}
        names = {n: tuple(found["runs"][n]) for n in networks or (plain, se)}
        varied = (found["vary"]["option"], networks, found["config"]) if networks else None
    except (KeyError, TypeError) as error:
        raise _damaged(path, f"it lacks {error}") from error
    if any(len(runs) != len(seeds) for runs in names.values()):
        which = "every network" if varied else "both networks"
        raise _damaged(path, f"it does not name a run of {which} for each seed of {seeds}")
    runs = {
        name: tuple(read_run(folder / n) if RunFolder(folder / n).config_file.exists() else None
                    for n in own)
        for name, own in names.items()
    }  # fmt: skip
    parts = (folder, seeds, runs, _json(place.cost_file))
    family = Variation(*parts, *varied) if varied else Twins(*parts, plain, se)
    _check_images(family)
    return family


def _check_classes(found: Predictions, path: Path, classes: Sequence[str]) -> None:
    n, k = found.logits.shape
    if k != len(classes):
        raise _damaged(path, f"it has {k} classes, and config.json names {len(classes)}")
    if found.labels.shape != (n,) or n == 0:
        raise _damaged(path, f"{found.labels.size} labels for {n} predictions")
    if found.labels.min() < 0 or found.labels.max() >= k:
        raise _damaged(path, f"a label is not one of the {k} classes")


def _check_images(family: Family) -> None:
    _, runs = family.finished()
    first, *rest = [run for own in runs.values() for run in own] or [None]
    for run in rest:
        assert first is not None
        assert first.predictions is not None
        assert run is not None
        assert run.predictions is not None
        if not np.array_equal(run.predictions.labels, first.predictions.labels):
            raise ValueError(
                f"{run.folder} and {first.folder} were tested on different images (the labels in "
                "their predictions.npz differ), so they cannot be compared image by image. "
                f"{_again(run.folder)}"
            )


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error.__cause__ or error)) from error
    if not isinstance(found, dict):
        raise _damaged(path, f"it holds a {type(found).__name__}, not an object")
    return found


def _metrics(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of the table; an empty cell is NaN. Without a file they are empty."""
    try:
        columns, rows = read_csv(path)
    except FileNotFoundError:
        return {name: np.empty(0) for name in _NEEDED}
    except (OSError, ValueError, csv.Error) as error:
        raise _damaged(path, str(error)) from error
    if lacking := [name for name in _NEEDED if name not in columns]:
        raise _damaged(path, f"it has no column {', '.join(lacking)}")
    try:
        return {
            name: np.array([float(row[name]) if row[name] else np.nan for row in rows], float)
            for name in columns
        }
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _predictions(path: Path) -> Predictions | None:
    try:
        found = Predictions.read(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, str(error)) from error
    if found.logits.ndim != 2 or not np.isfinite(found.logits).all():
        shape = found.logits.shape
        raise _damaged(path, f"logits must be [n, K] finite numbers, got shape {shape}")
    return found


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is damaged ({why}). {_again(path.parent)}")


def _again(folder: Path) -> str:
    return f"Delete {folder} and run the command that made it once more."
