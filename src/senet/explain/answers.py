"""What networks answer, and what one gains over another: by class, paired on the same images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from senet.paired import Estimate, Outcomes, difference, mcnemar, pair


@dataclass(frozen=True)
class Answers:
    """What a network answered on labelled images.

    Attributes:
        names: a name of every image.
        labels: the number of its class, ``[images]``.
        said: the number that the network answered, ``[images]``.
    """

    names: Sequence[str]
    labels: np.ndarray
    said: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether each answer is right, ``[images]``."""
        return self.labels == self.said

    @classmethod
    def of_parts(cls, parts: Sequence[Answers | None]) -> Answers | None:
        """Return the answers on the images of all parts, in their order, if all are known."""
        known = [one for one in parts if one is not None]
        if len(known) < len(parts):
            return None
        return cls(
            [name for one in known for name in one.names],
            np.concatenate([one.labels for one in known]),
            np.concatenate([one.said for one in known]),
        )


class Heard:
    """Labelled batches, and what a network answers on each while it runs through them.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Identity())
        >>> heard = Heard(model, [(torch.tensor([[0.1, 0.7], [0.3, 0.2]]), torch.tensor([1, 1]))])
        >>> for x, _ in heard:
        ...     _ = model(x)
        >>> heard.answers(["a.jpg", "b.jpg"]).right
        array([ True, False])
    """

    def __init__(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        self.model, self.batches = model, batches
        self._labels: list[Tensor] = []
        self._said: list[Tensor] = []

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        hook = self.model.register_forward_hook(self._hear)
        try:
            for x, labels in self.batches:
                self._labels.append(labels.cpu())
                yield x, labels
        finally:
            hook.remove()

    def _hear(self, model: nn.Module, args: Any, y: Any) -> None:
        if isinstance(y, Tensor) and y.dim() == 2:
            self._said.append(y.argmax(1).cpu())

    def answers(self, names: Sequence[str]) -> Answers | None:
        """Return the answers, by the names of the images; ``None`` if there were no logits."""
        if not self._said or len(self._said) != len(self._labels):
            return None
        labels, said = (torch.cat(one).numpy() for one in (self._labels, self._said))
        return Answers(names[: len(said)], labels, said)


@dataclass(frozen=True)
class Gain:
    """What a network gains over another on the same images.

    Attributes:
        label: the number of the class of these images; ``None`` for all.
        outcomes: on how many images both, one or neither is right; the other network is the plain
            one.
        change: accuracy of the network minus that of the other, with Newcombe's interval.
        p: p-value of McNemar's exact test.
    """

    label: int | None
    outcomes: Outcomes
    change: Estimate
    p: float


def gains(one: Answers, other: Answers) -> list[Gain]:
    """Return what one network gains over another: on all images, then by class, the largest first.

    Where one saw fewer images, as after Ctrl-C, only these count.

    Example:
        >>> labels = np.array([0, 0, 1, 1])
        >>> better = Answers("abcd", labels, np.array([0, 0, 1, 1]))
        >>> worse = Answers("abcd", labels, np.array([0, 0, 0, 1]))
        >>> [(gain.label, gain.change.value) for gain in gains(better, worse)]
        [(None, 0.25), (1, 0.5), (0, 0.0)]
    """
    n = min(len(one.labels), len(other.labels))
    labels, right, theirs = one.labels[:n], one.right[:n], other.right[:n]
    classes = [_gain(int(k), right[labels == k], theirs[labels == k]) for k in np.unique(labels)]
    return [_gain(None, right, theirs), *sorted(classes, key=lambda own: -own.change.value)]


def _gain(label: int | None, right: np.ndarray, theirs: np.ndarray) -> Gain:
    outcomes = pair(theirs, right)
    return Gain(label, outcomes, difference(outcomes), mcnemar(outcomes))
