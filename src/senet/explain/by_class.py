"""Figures 6 and 7 of the paper: which blocks and which classes they show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch

from senet.gates import BlockGates

SHOWN = 6
"""The number of blocks that the figures show where the paper has no choice of its own."""


def paper_blocks(blocks: Sequence[BlockGates]) -> list[BlockGates]:
    """Return the blocks of Figure 6: of a ResNet-50 the paper's, of others some evenly by depth.

    The paper shows SE_2_3, SE_3_4, SE_4_6, SE_5_1, SE_5_2 and SE_5_3: the last block of each
    stage, and of the last stage all three.

    Example:
        >>> from senet import create_model
        >>> from senet.gates import record
        >>> found = record(create_model("se_resnet50", num_classes=2), [torch.randn(1, 3, 32, 32)])
        >>> [block.name for block in paper_blocks(list(found.values()))][:4]
        ['layer1.2.se', 'layer2.3.se', 'layer3.5.se', 'layer4.0.se']
    """
    stages = [list(stage) for _, stage in groupby(blocks, lambda block: block.mean.shape[1])]
    if [len(stage) for stage in stages] == [3, 4, 6, 3]:
        return [stages[0][-1], stages[1][-1], stages[2][-1], *stages[3]]
    return [blocks[i] for i in _evenly(len(blocks), SHOWN)]


def shown_classes(blocks: Sequence[BlockGates], most: int) -> list[int]:
    """Return at most ``most`` classes that have images, evenly spaced by their numbers."""
    seen = torch.nonzero(blocks[0].images).flatten().tolist()
    return [seen[i] for i in _evenly(len(seen), most)]


def farthest(block: BlockGates, classes: Sequence[int]) -> list[int]:
    """Return the two of the classes whose mean gates lie farthest apart in a block."""
    if len(classes) < 2:
        return list(classes)
    means = block.mean[list(classes)]
    at = int(torch.cdist(means, means).argmax())
    two = sorted({at // len(classes), at % len(classes)})
    return [classes[i] for i in (two if len(two) == 2 else (0, 1))]


def _evenly(number: int, most: int) -> list[int]:
    """Return at most ``most`` of the numbers below ``number``, the first and the last included."""
    return sorted({round(float(i)) for i in np.linspace(0, number - 1, min(number, most))})
