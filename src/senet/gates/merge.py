"""Merge what several processes recorded: as if one had recorded all of their images."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, distributed

from senet.gates.statistics import BlockGates, Examples, Moments


def merged(records: Sequence[Mapping[str, BlockGates]]) -> dict[str, BlockGates]:
    """Return one record of the images of several, with nothing lost.

    Means, deviations and counts are those of one pass over all images, up to the rounding of
    float64. Examples are again a uniform draw: from each record as many as a draw from all images
    takes, in the order of the records, whose positions follow one another.

    Args:
        records: records of the same blocks and classes by :func:`.record`, of different images.

    Raises:
        ValueError: if their blocks or classes differ, or there are none.

    Example:
        >>> from senet import create_model
        >>> from senet.gates import record
        >>> model, x = create_model("se_resnet8_cifar"), torch.randn(6, 3, 32, 32)
        >>> whole, halves = record(model, [x]), [record(model, [x[:2]]), record(model, [x[2:]])]
        >>> together = merged(halves)["layer1.0.se"]
        >>> torch.allclose(together.mean, whole["layer1.0.se"].mean)
        True
    """
    if not records:
        raise ValueError("no records to merge")
    first = records[0]
    for other in records[1:]:
        if list(other) != list(first) or any(
            other[path].mean.shape != first[path].mean.shape for path in first
        ):
            raise ValueError(
                "records of different blocks or classes cannot be merged: give every process the "
                "same network and the same classes"
            )
    draws = _draws(records)
    return {path: _merged([one[path] for one in records], draws) for path in first}


def gathered(blocks: Mapping[str, BlockGates]) -> dict[str, BlockGates]:
    """Return the merged record of all processes of ``torch.distributed``, in every one of them.

    Each calls it with what it recorded of its own images, for instance under ``torchrun`` with a
    ``DistributedSampler``. Such a sampler repeats images to give every process as many: leave the
    repeated ones out, or they count twice. Where there is one process, this returns its record.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return dict(blocks)
    records: list[dict[str, BlockGates] | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(records, dict(blocks))
    return merged([one for one in records if one is not None])


def _draws(records: Sequence[Mapping[str, BlockGates]]) -> list[list[int]]:
    """Return which examples of each record a uniform draw from all images takes, for all blocks."""
    blocks = [next(iter(one.values())) for one in records]
    if any(block.examples is None for block in blocks):
        return []
    left = [int(block.images.sum()) for block in blocks]
    kept = [len(block.examples.s) for block in blocks if block.examples is not None]
    generator = random.Random(0)
    # Those that kept some of their images kept enough for a draw as large as theirs.
    partial = [have for have, n in zip(kept, left, strict=True) if have < n]
    taken = [0] * len(blocks)
    for _ in range(min(partial, default=sum(left))):
        at = generator.choices(range(len(left)), left)[0]
        left[at] -= 1
        taken[at] += 1
    return [sorted(generator.sample(range(have), n)) for have, n in zip(kept, taken, strict=True)]


def _merged(blocks: Sequence[BlockGates], draws: Sequence[Sequence[int]]) -> BlockGates:
    gates = _moments([(one.mean, one.std, one.images) for one in blocks])
    squeezed = [one.squeezed for one in blocks]
    counts = torch.tensor([float(one.images.sum()) for one in blocks], dtype=torch.float64)
    return BlockGates(
        blocks[0].name,
        gates.mean,
        gates.std,
        gates.images,
        float((counts * torch.tensor([one.open for one in blocks])).sum() / counts.sum()),
        float((counts * torch.tensor([one.closed for one in blocks])).sum() / counts.sum()),
        _moments([(z.mean, z.std, z.images) for z in squeezed if z is not None])
        if None not in squeezed
        else None,
        _examples(blocks, draws) if draws else None,
        next((one.why for one in blocks if one.why), ""),
    )


def _moments(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Moments:
    """Return the moments of all parts, each given by its means, deviations and numbers."""
    total = Moments(*parts[0][0].shape)
    for mean, std, images in parts:
        total.merge(Moments.of(mean, std, images))
    return total


def _examples(blocks: Sequence[BlockGates], draws: Sequence[Sequence[int]]) -> Examples:
    parts, before = [], 0
    for block, own in zip(blocks, draws, strict=True):
        assert block.examples is not None
        e = block.examples
        parts.append((e.z[own], e.s[own], e.labels[own], e.images[own] + before))
        before += int(block.images.sum())
    z, s, labels, images = (torch.cat(one) for one in zip(*parts, strict=True))
    return Examples(z, s, labels, images)
