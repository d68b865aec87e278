"""The gates of the SE network: section 6.4 of the paper on the run's own images."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from senet.analysis.sections import Section
from senet.analysis.statistics import percent
from senet.analysis.subject import Subject
from senet.figures import gates as drawn
from senet.gates import BlockGates


def gates(subject: Subject, blocks: Sequence[BlockGates], images: int) -> Section:
    """Return what the gates do: Figures 6 and 7 of the paper, and a row per block."""
    names, seen = subject.classes, torch.nonzero(blocks[0].images).flatten().tolist()
    step = max(1.0, len(seen) / drawn.COLOURS)
    shown = [seen[int(i * step)] for i in range(min(len(seen), drawn.COLOURS))]
    last = list({block.stage: block for block in blocks}.values())  # the last of every stage
    colours = {k: c for c, k in enumerate(shown)}
    two = _farthest(last[-1], shown)
    seeds = f" (seed {subject.seeds[0]})" if len(subject.seeds) > 1 else ""
    caption = (
        f"Mean gate of every channel over {images:,} test images{seeds}, in the last block of "
        "every stage, by class; the bold line is the mean over all classes. Channels are sorted by "
        "that mean. All figures share one axis. Compare Figure 6 of the paper."
    )
    if len(shown) < len(seen):
        caption += f" {len(shown)} of the {len(seen)} classes have a line, evenly spaced."
    section: Section = {
        "shown": [(k, names[k]) for k in shown],
        "story": _gate_story(last),
        "panels": _named(last, drawn.by_class(last, shown)),
        "caption": caption,
        "bands": [],
        "rows": [_gate_row(b) for b in blocks],
        "table_caption": "Open and closed are shares of all gates, over images and channels. "
        "Decided by class is the variance between the means of the classes divided by all "
        "variance: 100 % if nothing but the class moves a gate; if the gate ignores the class, "
        f"chance alone gives about {percent((len(seen) - 1) / max(images - 1, 1))} on this many "
        "images.",
    }
    if len(two) == 2:
        coloured = [(colours[k], k) for k in two]
        section |= {
            "two": [{"colour": colours[k], "name": names[k]} for k in two],
            "bands": _named(last, drawn.within_classes(last, coloured)),
            "bands_caption": "Mean gate ± one standard deviation over the images of a class, as in "
            "Figure 7 of the paper, for the two classes above whose gates lie farthest apart in "
            "the last block. Where the bands part, the gate tells the classes apart; their width "
            "is how much it depends on the single image.",
        }
    return section


def _gate_story(last: Sequence[BlockGates]) -> str:
    first, final = last[0], last[-1]
    text = (
        "Every gate is a number: 0 shuts its channel off, 1 lets it pass unchanged. In the paper's "
        "ImageNet network the early gates are similar for all classes and the later ones differ "
        "from class to class. Here the class decides "
        f"{percent(first.class_dependence, 0)} of the variance of the gates at the end of the "
        "first stage"
    )
    if len(last) > 1:
        text += f" and {percent(final.class_dependence, 0)} at the end of the last"
    text += f"; the mean gate there is {float(final.overall.mean()):.2f}."
    if final.open > 0.5:
        text += (
            f" {percent(final.open, 0)} of the gates of the last block are open, so it changes "
            "little: the paper saw the same, and found that the blocks of the last stage could be "
            "removed at a small loss."
        )
    return text


def _gate_row(block: BlockGates) -> Section:
    return {
        "name": block_name(block.name),
        "channels": block.mean.shape[1],
        "mean": f"{float(block.overall.mean()):.2f}",
        "open": percent(block.open),
        "closed": percent(block.closed),
        "dependence": percent(block.class_dependence, 0),
    }


def _farthest(block: BlockGates, shown: Sequence[int]) -> list[int]:
    """Return the two classes whose mean gates lie farthest apart."""
    if len(shown) < 2:
        return []
    means = block.mean[list(shown)]
    at = int(torch.cdist(means, means).argmax())
    return sorted((shown[at // len(shown)], shown[at % len(shown)]))


def _named(blocks: Sequence[BlockGates], figures: Sequence[Figure]) -> list[Section]:
    return [
        {"name": block_name(block.name), "figure": figure}
        for block, figure in zip(blocks, figures, strict=True)
    ]


def block_name(name: str) -> str:
    """Return where a block is, in words.

    Example:
        >>> block_name("layer2.0.se"), block_name("features.3.attention")
        ('Stage 2, block 1', 'features.3.attention')
    """
    found = re.fullmatch(r"layer(\d+)\.(\d+)\.se", name)
    return f"Stage {found[1]}, block {int(found[2]) + 1}" if found else name
