"""The classifier that a training begins with: rows of the weights where they fit, and new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from senet.data.layout import listed, number_of, same_name
from senet.models.network import Network
from senet.models.weights.find import Weights
from senet.runs.folder import RunFolder


@dataclass(frozen=True)
class Head:
    """Where the rows of a classifier come from, one row per class.

    Attributes:
        kept: classes whose rows come from the weights.
        new: classes whose rows are initialized anew.
        named: whether the weights name their classes. If not, the rows are all kept or all new.
    """

    kept: tuple[str, ...]
    new: tuple[str, ...]
    named: bool

    def __str__(self) -> str:
        if not self.new:
            how = "by name" if self.named else "in the order of the weights, which do not name them"
            return f"the classifier keeps its rows for all {len(self.kept):,} classes, {how}"
        if not self.kept:
            return f"the classifier is new, for {len(self.new):,} other classes"
        return (
            f"the classifier keeps its rows for {len(self.kept):,} classes ({listed(self.kept)})"
            f" and has new ones for {len(self.new):,} ({listed(self.new)})"
        )


def with_rows_by_name(
    model: Network, state: Mapping[str, Tensor], weights: Weights, classes: Sequence[str]
) -> tuple[dict[str, Tensor], Head]:
    """Return a state dict whose classifier fits ``classes``: rows go to the class of their name.

    A class whose name the weights do not have keeps the row of ``model``.

    Args:
        model: the network before the training, with as many outputs as there are classes.
        state: the state dict of the weights.
        weights: where ``state`` comes from.
        classes: the classes of the training, in the order of their numbers.
    """
    state = model.translate(state)
    own = {name: value for name, value in model.state_dict().items() if name.startswith("fc.")}
    theirs = named_classes(weights)
    rows = {len(state[name]) for name in own if name in state}
    if not theirs or rows != {len(theirs)}:
        fits = all(name in state and state[name].shape == own[name].shape for name in own)
        kept, new = (tuple(classes), ()) if fits else ((), tuple(classes))
        return {**state, **({} if fits else own)}, Head(kept, new, named=False)
    number = number_of(theirs)
    row_of = {i: number[same_name(c)] for i, c in enumerate(classes) if same_name(c) in number}
    if any(n not in state or state[n].shape[1:] != v.shape[1:] for n, v in own.items()):
        row_of = {}
    for name, value in own.items():
        head = value.clone()
        for row, their_row in row_of.items():
            head[row] = state[name][their_row]
        state[name] = head
    kept = tuple(name for i, name in enumerate(classes) if i in row_of)
    new = tuple(name for i, name in enumerate(classes) if i not in row_of)
    return state, Head(kept, new, named=True)


def named_classes(weights: Weights) -> tuple[str, ...]:
    """Return the class names of weights, in the order of their rows; empty if unknown."""
    if weights.record is not None:
        return weights.record.classes
    run = RunFolder(Path(weights.file).parent.parent)  # of a checkpoint in a run folder
    try:
        return tuple(map(str, run.read_data()["classes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()
