"""The weights that a run keeps in the end: those of an epoch, or of the probe it began with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from senet.models.weights.file import read_record
from senet.runs.folder import RunFolder


@dataclass(frozen=True)
class Kept:
    """Weights to keep.

    Attributes:
        file: the file that holds them.
        name: ``"last"``, ``"best"`` or ``"probe"``.
        why: why they are not those of the last epoch; empty if they are, or there was no epoch.
    """

    file: Path
    name: str
    why: str = ""


def weights_to_keep(
    folder: RunFolder, rows: Sequence[Mapping[str, str]], diverged: bool = False
) -> Kept:
    """Return the weights of the last epoch, or those of the probe if they are better.

    Better is a higher accuracy on the validation images. A training that has diverged may have
    been on the way there for an epoch or more, so the best epoch takes the place of the last, and
    without validation images the probe is kept.

    Args:
        folder: the run folder, with a probe if it has diverged.
        rows: the table of its epochs.
        diverged: whether the training has.
    """
    probe = probe_accuracy(folder)
    if not rows or (diverged and probe is None):
        return Kept(folder.probe_file, "probe", _probe_is_kept(probe) if diverged else "")
    found = [float(row["val_accuracy"]) for row in rows if row["val_accuracy"]]
    if probe is None or not found:
        return Kept(folder.last, "last")
    chosen = max(found) if diverged else found[-1]
    if chosen < probe:
        which = "best epoch" if diverged else "last epoch"
        had = f"the {which} has {chosen:.1%} of the validation images right, and the probe"
        return Kept(folder.probe_file, "probe", f"{had} {probe:.1%}: {_probe_is_kept()}")
    if not diverged:
        return Kept(folder.last, "last")
    epoch = found.index(chosen) + 1
    why = f"the weights of epoch {epoch} are kept, with {chosen:.1%} of the validation images right"
    return Kept(folder.best, "best", f"{why} (the probe: {probe:.1%})")


def probe_accuracy(folder: RunFolder) -> float | None:
    """Return the validation accuracy of the probe, if there is one."""
    if not folder.probe_file.exists():
        return None
    return read_record(folder.probe_file).metrics.get("val_accuracy")


def _probe_is_kept(accuracy: float | None = None) -> str:
    right = "" if accuracy is None else f", with {accuracy:.1%} of the validation images right"
    return f"the weights of the probe are kept{right}"
