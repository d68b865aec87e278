"""Record the squeezes and gates of SE blocks, in one run over the images and constant memory."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from senet.gates.find import blocks_of, gates_of
from senet.gates.statistics import CLOSED, OPEN, BlockGates, Examples, Moments
from senet.graph.capture import as_written, evaluating
from senet.nn import ChannelAttention
from senet.ops import reference


def record(
    model: nn.Module,
    batches: Iterable[Tensor | tuple[Tensor, Tensor]],
    classes: int = 1,
    *,
    blocks: Mapping[str, nn.Module] | None = None,
    examples: int = 0,
) -> dict[str, BlockGates]:
    """Run images through ``model``, and gather the squeezes and gates of its blocks by class.

    Args:
        model: any network with SE; it is used in evaluation mode and left in the mode it was in.
        batches: inputs as the network takes them, with their labels ``[B]``, or alone; iterated
            over once. Of how many images a batch is does not matter.
        classes: number of classes; 1 where there are no labels, or all are 0.
        blocks: some blocks of the network, by their paths, all of which have :func:`.gates_of`; by
            default :func:`.blocks_of` the network.
        examples: the number of images whose own z and s are kept.

    Returns:
        The gates of every block that the images ran through, in the order of ``blocks``.

    Raises:
        ValueError: if the network has no SE block, there are no images, or a label is not the
            number of a class.

    Example:
        >>> from senet import create_model
        >>> images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 1, 0])
        >>> found = record(create_model("se_resnet8_cifar"), [(images, labels)], classes=2)
        >>> {path: tuple(block.mean.shape) for path, block in found.items()}
        {'layer1.0.se': (2, 16), 'layer2.0.se': (2, 32), 'layer3.0.se': (2, 64)}
    """
    blocks = blocks_of(model) if blocks is None else blocks
    sums: dict[str, _Sums] = {}
    draw = _Draw(examples)
    with evaluating(model), torch.no_grad(), recording(model, blocks) as latest:
        for batch in batches:
            x, labels = _labelled(batch, classes)
            latest.clear()
            model(x)
            places = draw.places(labels)
            for path, seen in latest.items():
                if path not in sums:
                    sums[path] = _Sums(classes, seen.s.shape[1], examples)
                sums[path].add(seen, labels, places)
    if not draw.seen:
        raise ValueError("no images: the gates of a network show only on images")
    # The sums of a block go when its result is there, so that there are never both of all blocks.
    return {path: sums.pop(path).result(path, draw) for path in blocks if path in sums}


def _labelled(batch: Tensor | tuple[Tensor, Tensor], classes: int) -> tuple[Tensor, Tensor]:
    """Return the images of a batch, and their labels on the CPU."""
    if isinstance(batch, Tensor):
        return batch, torch.zeros(len(batch), dtype=torch.int64)
    x, labels = batch[0], batch[1].cpu()
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"the labels {int(labels.min())} … {int(labels.max())} do not fit classes={classes}: "
            f"a label is the number of a class, 0 … {classes - 1}"
        )
    return x, labels


@dataclass(frozen=True)
class Seen:
    """The squeeze and the gates of one block for one batch.

    Attributes:
        z: the mean of its feature map over space, ``[B, C]``: equation 2.
        s: its gates, ``[B, C]``; where every position has gates of its own, their means.
        why: why the block's output is not its map times s; empty where it is, as far as checked.
    """

    z: Tensor
    s: Tensor
    why: str


@contextmanager
def recording(
    model: nn.Module, blocks: Mapping[str, nn.Module] | None = None
) -> Iterator[dict[str, Seen]]:
    """Record z and s of the blocks in every forward pass of ``model`` within the context.

    The dictionary of the context holds the latest batch by the paths of the blocks. An accelerated
    network runs as it was written. The hooks are removed when the context ends, also on an error.

    Args:
        model: any network with SE, in any mode.
        blocks: as for :func:`record`.

    Raises:
        ValueError: if the network has no SE block.

    Example:
        >>> from senet import create_model
        >>> model = create_model("se_resnet8_cifar").eval()
        >>> with recording(model) as latest:
        ...     _ = model(torch.randn(4, 3, 32, 32))
        >>> {path: tuple(seen.s.shape) for path, seen in latest.items()}
        {'layer1.0.se': (4, 16), 'layer2.0.se': (4, 32), 'layer3.0.se': (4, 64)}
    """
    blocks = blocks_of(model) if blocks is None else blocks
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no SE block, so there are no gates to record")
    latest: dict[str, Seen] = {}
    hooks: list[Any] = []
    try:
        for path, block in blocks.items():
            hooks += _Watch(block, path, latest).hooks
        with as_written(model):
            yield latest
    finally:
        for hook in hooks:
            hook.remove()


class _Watch:
    """A watch on one block: its gates, and in the first pass a check that it does no more."""

    def __init__(self, block: nn.Module, path: str, latest: dict[str, Seen]) -> None:
        self.path, self.latest = path, latest
        self.hooks = [
            block.register_forward_pre_hook(self.take, with_kwargs=True),
            block.register_forward_hook(self.check),
        ]
        if isinstance(block, ChannelAttention):  # its gate is a module: s need not be made again
            self.gates = None
            self.hooks.append(block.gate.register_forward_hook(self.see))
        else:
            self.gates = gates_of(block)
            assert self.gates is not None
        self.given: list[Any] = []
        self.expected: Tensor | None = None
        self.first = True
        self.why = ""

    @torch.no_grad()
    def take(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.given = [*args, *kwargs.values()]  # the map, and perhaps a mask
        if self.gates is not None:
            self.given = self.given[:1]
            self.see(block, args, self.gates(self.given[0]))

    @torch.no_grad()
    def see(self, gate: nn.Module, args: tuple[Any, ...], s: Tensor) -> None:
        if not self.given:  # called again, or from elsewhere
            return
        u, *mask = self.given
        z = reference.squeeze(u, *mask) if u.dim() > 2 else u
        s, alike = _by_channel(s, u)
        if not alike:
            self.why = self.why or "its gates are not one number per image and channel"
        elif self.first:
            self.expected = reference.scale(u, s, *mask)
        self.first, self.given = False, []
        self.latest[self.path] = Seen(z, s, self.why)

    @torch.no_grad()
    def check(self, block: nn.Module, args: tuple[Any, ...], y: Any) -> None:
        expected, self.expected = self.expected, None
        if expected is None:
            return
        tolerance = 64 * torch.finfo(expected.dtype).eps
        same = isinstance(y, Tensor) and y.shape == expected.shape
        if not (same and torch.allclose(y, expected.to(y.dtype), tolerance, tolerance)):
            self.why = self.why or "it does more than multiply its map by its gates"
            seen = self.latest[self.path]
            self.latest[self.path] = Seen(seen.z, seen.s, self.why)


def _by_channel(s: Tensor, u: Tensor) -> tuple[Tensor, bool]:
    """Return gates as ``[B, C]``, and whether they are the same at every position."""
    if s.dim() == 2:
        s = s.reshape(*s.shape, *(1,) * (u.dim() - 2))
    alike = s.shape[:2] == u.shape[:2]
    if not alike:
        try:
            s = s.expand_as(u)
        except RuntimeError:  # the product is larger than the map
            return torch.full(u.shape[:2], torch.nan), False
    s = s[..., None].flatten(2)
    alike = alike and (s.shape[2] == 1 or bool((s == s[..., :1]).all()))
    return (s[..., 0] if alike else s.mean(2)), alike


class _Sums:
    """The sums of one block, so that a split need not fit in memory."""

    def __init__(self, classes: int, channels: int, examples: int) -> None:
        self.z, self.s = Moments(classes, channels), Moments(classes, channels)
        self.kept = [torch.full((examples, channels), torch.nan) for _ in "zs"]
        self.open = self.closed = 0
        self.why = ""

    def add(self, seen: Seen, labels: Tensor, places: tuple[Tensor, Tensor]) -> None:
        z, s = seen.z.cpu(), seen.s.cpu()
        self.z.add(z, labels)
        self.s.add(s, labels)
        self.open += int((s > OPEN).sum())
        self.closed += int((s < CLOSED).sum())
        self.why = (
            self.why or seen.why or ("" if s.isfinite().all() else "its gates are not finite")
        )
        place, row = places
        self.kept[0][place], self.kept[1][place] = z[row].float(), s[row].float()

    def result(self, path: str, draw: _Draw) -> BlockGates:
        gates = float(self.s.images.sum()) * self.s.mean.shape[1]
        n = min(draw.wanted, draw.seen)
        z, s = (kept[:n] for kept in self.kept)
        return BlockGates(
            path,
            self.s.mean,
            self.s.std,
            self.s.images,
            self.open / gates,
            self.closed / gates,
            self.z,
            Examples(z, s, draw.labels[:n], draw.images[:n]) if draw.wanted else None,
            self.why,
        )


class _Draw:
    """A uniform draw of examples from images whose number is not known: a reservoir.

    Vitter, "Random sampling with a reservoir", 1985, algorithm R.
    """

    def __init__(self, wanted: int) -> None:
        self.wanted, self.seen = wanted, 0
        self.labels, self.images = (torch.zeros(wanted, dtype=torch.int64) for _ in range(2))
        self._random = random.Random(0)

    def places(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the examples that change, and the rows of the batch that they become."""
        found: dict[int, int] = {}
        for row, label in enumerate(labels.tolist()):
            place = self.seen if self.seen < self.wanted else self._random.randrange(self.seen + 1)
            if place < self.wanted:
                found[place] = row
                self.labels[place], self.images[place] = label, self.seen
            self.seen += 1
        return torch.tensor([*found], dtype=torch.int64), torch.tensor([*found.values()]).long()
