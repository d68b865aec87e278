"""One image: the channels that its gates raise and lower, and the worth of each block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from senet.explain.blocks import ROUNDING
from senet.gates import BlockGates, recording, replacing
from senet.graph.capture import evaluating

MOST = 3
"""Channels that are named in each direction."""


@dataclass(frozen=True)
class Changed:
    """What one block does to one image.

    Attributes:
        name: path of the block.
        raised: channels whose gates exceed their mean over the data set most, as (channel, gate,
            mean), the most raised first.
        lowered: those that lie below it most, likewise.
        apart: how far the gates lie from their means over the data set, in standard deviations,
            as a root mean square over channels.
        silenced: probability of the network's answer with all gates of this block at 1.
        instead: the answer that the network gives then.
        probability: its probability.
    """

    name: str
    raised: tuple[tuple[int, float, float], ...]
    lowered: tuple[tuple[int, float, float], ...]
    apart: float = 0.0
    silenced: float | None = None
    instead: int | None = None
    probability: float | None = None


@torch.no_grad()
def one_image(
    model: nn.Module, x: Tensor, blocks: Mapping[str, BlockGates]
) -> tuple[int, float, list[Changed]]:
    """Compare the gates of one image with those of a data set, block by block.

    Args:
        model: the network.
        x: the image as the network takes it, ``[1, C, H, W]``.
        blocks: the gates of the data set, of :func:`senet.gates.record`.

    Returns:
        the number of the network's answer, its probability, and what every block does.

    Example:
        >>> from senet import create_model
        >>> from senet.gates import record
        >>> model, x = create_model("se_resnet8_cifar"), torch.randn(5, 3, 32, 32)
        >>> answer, probability, changed = one_image(model, x[:1], record(model, [x]))
        >>> [block.name for block in changed]
        ['layer1.0.se', 'layer2.0.se', 'layer3.0.se']
    """
    with evaluating(model):
        with recording(model, {path: model.get_submodule(path) for path in blocks}) as latest:
            p = model(x).float().softmax(1)[0]
        answer = int(p.argmax())
        found = []
        for path, block in blocks.items():
            s = latest[path].s[0].cpu().double()
            raised, lowered = _changes(s, block.overall)
            one = Changed(path, raised, lowered, _apart(s, block))
            found.append(one if block.why else _silenced(one, model, x, answer))
    return answer, float(p[answer]), found


def _changes(
    s: Tensor, mean: Tensor
) -> tuple[tuple[tuple[int, float, float], ...], tuple[tuple[int, float, float], ...]]:
    """Return the channels that are raised most and those that are lowered most."""
    order = (s - mean).argsort(stable=True)
    up, down = order.flip(0)[:MOST].tolist(), order[:MOST].tolist()
    raised = tuple((c, float(s[c]), float(mean[c])) for c in up if s[c] > mean[c] + ROUNDING)
    return raised, tuple(
        (c, float(s[c]), float(mean[c])) for c in down if s[c] < mean[c] - ROUNDING
    )


def _apart(s: Tensor, block: BlockGates) -> float:
    moves = block.deviation > ROUNDING
    z = (s - block.overall)[moves] / block.deviation[moves]
    return float(z.square().mean().sqrt()) if len(z) else 0.0


def _silenced(one: Changed, model: nn.Module, x: Tensor, answer: int) -> Changed:
    with replacing(model, {one.name: lambda u: u.new_ones(u.shape[:2])}):
        p = model(x).float().softmax(1)[0]
    return replace(
        one, silenced=float(p[answer]), instead=int(p.argmax()), probability=float(p.max())
    )
