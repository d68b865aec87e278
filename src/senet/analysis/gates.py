"""What the gates do: s of every SE block, by class, as section 6.4 of the paper looks at it.

Figure 6 of the paper is the mean gate a channel and class; Figure 7 adds the standard deviation
within a class. Where the classes' means part, the block has learned what a class needs; where they
coincide, it treats all images alike; where gates stand at 1, it does nothing and could be removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from senet.nn import Attention

OPEN, CLOSED = 0.95, 0.05
"""From where on, and up to where, a gate counts as saturated."""


@dataclass(frozen=True)
class BlockGates:
    """The gates of one SE block over the images of a split.

    Attributes:
        name: of the block in the network, such as ``layer1.0.se``.
        mean: mean gate over the images of a class, ``[classes, C]``; NaN for a class of no image.
        std: standard deviation over the images of a class, ``[classes, C]``, likewise.
        images: images of each class, ``[classes]``.
        open: share of all gates, over images and channels, above 0.95.
        closed: share of all gates below 0.05.
    """

    name: str
    mean: Tensor
    std: Tensor
    images: Tensor
    open: float
    closed: float

    @property
    def overall(self) -> Tensor:
        """Mean gate of every channel over all images, ``[C]``."""
        seen = self.images > 0
        weights = self.images[seen] / self.images.sum()
        return weights @ self.mean[seen]

    @property
    def class_dependence(self) -> float:
        """Variance between classes over total variance, summed over channels: η², 0 … 1.

        0: the gates are the same for every class. 1: the class alone decides them.
        """
        seen = self.images > 0
        weights = self.images[seen, None] / self.images.sum()
        between = (weights * (self.mean[seen] - self.overall).square()).sum()
        within = (weights * self.std[seen].square()).sum()
        total = between + within
        return float(between / total) if total > 0 else 0.0

    @property
    def stage(self) -> str:
        """The part of the network that it is in: ``layer1`` of ``layer1.0.se``."""
        return self.name.split(".")[0]


@contextmanager
def recording(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Within it, every forward pass of ``model`` leaves the gates of its SE blocks in the result.

    The result maps a block's name to s of the latest batch, ``[B, C]``. A block that gates every
    position by itself (``squeeze="none"``) leaves its mean over positions. The hooks are gone when
    the context ends, also by an error.

    Raises:
        ValueError: if the network has no SE block.

    Example:
        >>> from senet import create_model
        >>> model = create_model("se_resnet8_cifar").eval()
        >>> with recording(model) as gates:
        ...     _ = model(torch.randn(4, 3, 32, 32))
        >>> {name: tuple(s.shape) for name, s in gates.items()}
        {'layer1.0.se': (4, 16), 'layer2.0.se': (4, 32), 'layer3.0.se': (4, 64)}
    """
    blocks = {n: m for n, m in model.named_modules() if isinstance(m, Attention)}
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no SE block, so there are no gates to record")
    latest: dict[str, Tensor] = {}

    def keep(name: str, _gate: nn.Module, _inputs: tuple[Tensor], s: Tensor) -> None:
        latest[name] = s.detach() if s.dim() == 2 else s.detach().flatten(2).mean(2)

    # A hook on the gate itself: its output is s, whatever the block does with it afterwards.
    hooks = [
        block.gate.register_forward_hook(partial(keep, name)) for name, block in blocks.items()
    ]
    try:
        yield latest
    finally:
        for hook in hooks:
            hook.remove()


def by_class(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], classes: int
) -> list[BlockGates]:
    """Run the images through ``model`` and gather the gates of every SE block by class.

    Args:
        model: a network with SE; it is used in evaluation mode and left in the mode it was in.
        batches: images as the network takes them, ``[B, channels, H, W]``, with their labels
            ``[B]``.
        classes: number of classes.

    Returns:
        One :class:`BlockGates` a block, in the order of the network.

    Raises:
        ValueError: if the network has no SE block, or there are no images.
    """
    sums: dict[str, _Sums] = {}
    mode = model.training
    model.eval()
    try:
        with recording(model) as gates, torch.inference_mode():
            for images, labels in batches:
                model(images)
                for name, s in gates.items():
                    if name not in sums:
                        sums[name] = _Sums(classes, s.shape[1])
                    sums[name].add(s.cpu(), labels.cpu())
    finally:
        model.train(mode)
    if not sums:
        raise ValueError("no images: the gates of a network are seen on images only")
    return [found.result(name) for name, found in sums.items()]


class _Sums:
    """What one pass over the images adds up: a split need not fit in memory."""

    def __init__(self, classes: int, channels: int) -> None:
        self.images = torch.zeros(classes, dtype=torch.float64)
        # Means and sums of squares about them are merged batch by batch (Chan, Golub and LeVeque,
        # 1979): Σs² − n·mean² would cancel for gates that hardly move.
        self.mean = torch.zeros(classes, channels, dtype=torch.float64)
        self.squares = torch.zeros(classes, channels, dtype=torch.float64)
        self.open = self.closed = 0

    def add(self, s: Tensor, labels: Tensor) -> None:
        self.open += int((s > OPEN).sum())
        self.closed += int((s < CLOSED).sum())
        s = s.double()
        for label in labels.unique():
            own = s[labels == label]
            n, mean = len(own), own.mean(0)
            before, shift = self.images[label].clone(), mean - self.mean[label]
            self.images[label] += n
            self.mean[label] += shift * n / self.images[label]
            self.squares[label] += (own - mean).square().sum(0)
            self.squares[label] += shift.square() * n * before / self.images[label]

    def result(self, name: str) -> BlockGates:
        gates = float(self.images.sum()) * self.mean.shape[1]
        none = (self.images == 0)[:, None]
        return BlockGates(
            name,
            self.mean.masked_fill(none, torch.nan),
            (self.squares / self.images[:, None]).sqrt().masked_fill(none, torch.nan),
            self.images,
            self.open / gates,
            self.closed / gates,
        )
