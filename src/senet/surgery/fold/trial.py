"""Comparison of a network with changed forms of itself: output, accuracy and time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


class Calibration:
    """Images to run through a network, any number of times.

    Args:
        model: the network, in evaluation mode; its device and type are the images'.
        loader: batches of images ``[B, channels, H, W]``, or pairs of these and labels ``[B]``.

    Attributes:
        sample: the first two images.
        labelled: whether the loader yields labels.
        classes: number of outputs of the network, or 1 without labels.
        images: the number of images; known after the first round.

    Raises:
        ValueError: if the loader can be iterated over only once, is empty, or yields something
            else.
    """

    def __init__(self, model: nn.Module, loader: Iterable[Any]) -> None:
        if isinstance(loader, Iterator):
            raise ValueError(
                f"the images are used several times, and a {type(loader).__name__} can be iterated "
                "over only once: give the DataLoader itself, or a list of batches"
            )
        self.loader = loader
        like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
        self.device, self.dtype = like.device, like.dtype
        first = next(iter(loader), None)
        if first is None:
            raise ValueError("no images: what the gates do shows only on images")
        x, labels = self._parts(first)
        self.sample = x[:2]
        self.labelled = labels is not None
        self.classes = _classes(model(self.sample)) if self.labelled else 1
        self.images = 0

    def batches(self, what: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images on the device and labels, or zeros; a terminal shows a progress bar."""
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        total = len(self.loader) if isinstance(self.loader, Sized) else None
        shown = {"console": console, "transient": True, "disable": not console.is_terminal}
        self.images = 0
        for batch in track(self.loader, what, total, **shown):
            x, labels = self._parts(batch)
            if labels is None:
                labels = torch.zeros(len(x), dtype=torch.int64)
            elif not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
                raise ValueError(
                    f"class numbers must be 0 … {self.classes - 1}, since the network has "
                    f"{self.classes} outputs; got {int(labels.min())} … {int(labels.max())}"
                )
            self.images += len(x)
            yield x, labels.to(x.device)

    def _parts(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        x, *rest = batch if isinstance(batch, tuple | list) else (batch,)
        if not isinstance(x, Tensor) or not x.is_floating_point() or len(x) == 0:
            what = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(
                f"a batch must be images as the network takes them, normalised floating-point "
                f"numbers [B, channels, H, W], or a pair of these and class numbers; got {what}"
            )
        labels = rest[0] if rest else None
        if labels is not None and not _are_classes(labels, x):
            raise ValueError(
                f"labels must be class numbers [B], {len(x)} integers in this batch: give these, "
                "or only images"
            )
        return x.to(self.device, self.dtype), labels


def _are_classes(labels: Any, x: Tensor) -> bool:
    whole = isinstance(labels, Tensor) and not (labels.is_floating_point() or labels.is_complex())
    return whole and labels.shape == (len(x),)


def _classes(output: Any) -> int:
    if not isinstance(output, Tensor) or output.dim() != 2:
        what = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"labels are for a classifier, whose output is [B, classes], and this network's is "
            f"{what}: give only images"
        )
    return output.shape[1]


@dataclass(frozen=True)
class Trial:
    """The effect of a change on a network.

    Attributes:
        change: the change of the output, ‖y' − y‖ / ‖y‖ over all images.
        accuracy: share of images classified correctly; ``None`` without labels.
        ms: milliseconds per batch with the change; the median over the batches.
        saved_ms: milliseconds that the change saves per batch; the median over the batches, in each
            of which all forms take turns.
    """

    change: float
    accuracy: float | None
    ms: float
    saved_ms: float


@dataclass
class _Tally:
    """The sums over the batches."""

    right: int = 0
    moved: float = 0.0
    size: float = 0.0
    ms: list[float] = field(default_factory=list)

    def add(self, output: Any, plain: Any, labels: Tensor | None, ms: float) -> None:
        y, usual = flat(output), flat(plain)
        self.moved += float((y - usual).square().sum())
        self.size += float(usual.square().sum())
        self.right += 0 if labels is None else int((output.argmax(1) == labels).sum())
        self.ms.append(ms)

    def result(self, usual: _Tally, images: Calibration) -> Trial:
        saved = [a - b for a, b in zip(usual.ms, self.ms, strict=True)]
        return Trial(
            math.sqrt(self.moved / self.size) if self.size else 0.0,
            self.right / images.images if images.labelled else None,
            statistics.median(self.ms),
            statistics.median(saved),
        )


def try_out(
    model: nn.Module,
    images: Calibration,
    forms: Mapping[str, Callable[[], AbstractContextManager[object]]],
    what: str,
) -> tuple[Trial, dict[str, Trial]]:
    """Run the images through ``model`` as it is and in other forms, batch by batch in turn.

    Args:
        model: the network, in evaluation mode.
        images: the images that it sees.
        forms: contexts that give the network another form, by name.
        what: what is being done, for the progress bar.

    Returns:
        The trials of the network as it is, and of each form.
    """
    calls = {None: nullcontext, **forms}
    tallies = {name: _Tally() for name in calls}
    for number, (x, labels) in enumerate(images.batches(what)):
        usual = model(x)
        # Another form runs first in each batch.
        first = number % len(calls)
        for name in [*list(calls)[first:], *list(calls)[:first]]:
            with calls[name]():
                y, ms = _timed(model, x)
            tallies[name].add(y, usual, labels if images.labelled else None, ms)
    before = tallies[None]
    found = {name: tally.result(before, images) for name, tally in tallies.items()}
    return found.pop(None), {name: found[name] for name in forms}


def accuracy(model: nn.Module, images: Calibration, what: str) -> float:
    """Return the share of images that ``model`` classifies correctly."""
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in images.batches(what))
    return right / images.images


def flat(output: Any) -> Tensor:
    """Return all numbers that a network returns, in one row, float64 on the CPU.

    Example:
        >>> flat((torch.ones(2), {"more": [torch.zeros(1)]}))
        tensor([1., 1., 0.], dtype=torch.float64)
    """
    tensors = [t for t in tree_leaves(output) if isinstance(t, Tensor) and t.is_floating_point()]
    return torch.cat([t.detach().cpu().double().flatten() for t in tensors])


def _timed(model: nn.Module, x: Tensor) -> tuple[Any, float]:
    _wait_for(x)
    start = time.perf_counter()
    y = model(x)
    _wait_for(x)
    return y, 1000 * (time.perf_counter() - start)


def _wait_for(x: Tensor) -> None:
    if x.device.type != "cpu":
        torch.accelerator.synchronize(x.device)
