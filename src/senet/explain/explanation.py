"""What was found about the gates of a network, as one object that shows and saves itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn

from senet.explain.ablation import Ablation, Worth, worth
from senet.explain.answers import Answers, Gain, gains
from senet.explain.blocks import BlockFacts, block_facts
from senet.explain.likeness import Likeness, Specific, clearest, likeness, specific
from senet.explain.picture import Picture
from senet.gates import BlockGates, blocks_of, record

EXAMPLES = 500
"""Images whose own gates are kept: for the level of chance, and for the distribution."""
PAPER = 50
"""Images of a class in the paper's figures; with fewer, a page says that there are few."""


@dataclass(frozen=True)
class Note:
    """A remark for the reader: a key of the catalogue of messages, and its values."""

    key: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class Explanation:
    """The gates of a network, on a page and as numbers.

    Attributes:
        name: name of the network.
        blocks: the gates of every block by its path, in the order of the network.
        classes: names of the classes.
        notes: remarks for the reader of the page.
        pictures: single images.
        ablation: what the network said with gates replaced, of :func:`.ablate`.
        answers: what the network answered on the images; ``None`` where their labels are not among
            its outputs, or nobody asked.
        other: another network on the same images; one without SE has answers alone.
        look: returns the image at a position in the data set as a data URI, or an empty text.
    """

    name: str
    blocks: Mapping[str, BlockGates]
    classes: tuple[str, ...]
    notes: tuple[Note, ...] = ()
    pictures: tuple[Picture, ...] = ()
    ablation: Ablation | None = None
    answers: Answers | None = None
    other: Explanation | None = None
    look: Callable[[int], str] | None = None

    @cached_property
    def facts(self) -> list[BlockFacts]:
        """What every block does, in numbers."""
        return [block_facts(block) for block in self.blocks.values()]

    @cached_property
    def worth(self) -> list[Worth]:
        """What every replacement of gates does; empty without an ablation."""
        return worth(self.ablation) if self.ablation else []

    @cached_property
    def clearest(self) -> BlockGates | None:
        """The block whose gates tell classes apart most clearly; ``None`` if none does."""
        name = clearest(self.facts)
        return None if name is None else self.blocks[name]

    @cached_property
    def likeness(self) -> Likeness | None:
        """How alike classes are in that block."""
        return likeness(self.clearest) if self.clearest else None

    @cached_property
    def specific(self) -> list[Specific]:
        """The most specific channels of every class in that block."""
        return specific(self.clearest) if self.clearest else []

    @cached_property
    def gains(self) -> list[Gain]:
        """What the network gains over the other; empty where the answers of one are unknown."""
        if self.answers is None or self.other is None or self.other.answers is None:
            return []
        return gains(self.answers, self.other.answers)

    @property
    def images(self) -> int:
        """The number of images that were recorded, or answered by a network without SE."""
        for block in self.blocks.values():
            return int(block.images.sum())
        return 0 if self.answers is None else len(self.answers.labels)

    def save(self, folder: str | os.PathLike[str], language: str | None = None) -> Path:
        """Write the page, its figures and its numbers into a new folder.

        Args:
            folder: the folder; it must not exist, or be empty.
            language: ``"en"`` or ``"zh-TW"``; by default the browser of the reader decides.

        Returns:
            the path of the page.

        Raises:
            ValueError: if there is something in the folder.
        """
        from senet.explain.save import save

        return save(self, folder, language)

    def _repr_html_(self) -> str:
        """Return the page for a notebook, in a frame: it has a style of its own."""
        from markupsafe import escape

        from senet.explain.page import page

        return (
            f'<iframe srcdoc="{escape(str(page(self)))}" title="{escape(self.name)}" '
            'style="width:100%;height:720px;border:0"></iframe>'
        )


def network(
    model: nn.Module,
    batches: Iterable[Tensor | tuple[Tensor, Tensor]],
    classes: Sequence[str] = ("",),
    *,
    name: str = "",
) -> Explanation:
    """Record the gates of a network, in one pass over the images and constant memory.

    Args:
        model: any network with SE.
        batches: inputs as the network takes them, with their labels, or alone.
        classes: names of the classes; their order gives the numbers of the labels.
        name: the name for the page; by default that of its class.

    Raises:
        ValueError: if the network has no SE block, there are no images, or a label is not the
            number of a class.

    Example:
        >>> import torch
        >>> from senet import create_model, explain
        >>> batch = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 1, 0])
        >>> found = explain.network(create_model("se_resnet8_cifar"), [batch], ("cat", "dog"))
        >>> [(block.name, block.informed) for block in found.facts][0]
        ('layer1.0.se', False)
    """
    require_blocks(model)
    blocks = record(model, batches, len(classes), examples=EXAMPLES)
    return of_record(blocks, classes, name or type(model).__name__)


def of_record(
    blocks: Mapping[str, BlockGates], classes: Sequence[str], name: str = ""
) -> Explanation:
    """Return what recorded gates say, with remarks for the reader.

    Args:
        blocks: the gates of every block, of :func:`senet.gates.record` with ``examples``, or of
            :func:`senet.gates.gathered` where several processes recorded.
        classes: names of the classes.
        name: the name of the network.
    """
    found = Explanation(name, blocks, tuple(classes))
    return replace(found, notes=_notes(found))


def require_blocks(model: nn.Module) -> None:
    """Raise an error that says what a network has, if it has no SE block."""
    if not blocks_of(model):
        kinds = sorted({type(m).__name__ for m in model.modules()} - {type(model).__name__})
        raise ValueError(
            f"{type(model).__name__} has no SE block, and so no gates to show. It is made of "
            f"{', '.join(kinds[:8])}. To put SE into it: senet.insert_se(model), or `senet insert`"
        )


def _notes(found: Explanation) -> tuple[Note, ...]:
    """Return what a reader has to know about the numbers."""
    images = next(iter(found.blocks.values())).images
    seen, notes = int((images > 0).sum()), []
    if found.images < PAPER * seen:
        notes.append(Note("few", {"n": found.images, "classes": seen}))
    if absent := [n for n, k in zip(found.classes, images.tolist(), strict=True) if not k]:
        names = ", ".join(absent[:10]) + (", …" if len(absent) > 10 else "")
        notes.append(Note("absent", {"names": names}))
    for why in sorted({block.why for block in found.blocks.values() if block.why}):
        names = ", ".join(path for path, block in found.blocks.items() if block.why == why)
        notes.append(Note("why", {"names": names, "why": why}))
    return tuple(notes)
