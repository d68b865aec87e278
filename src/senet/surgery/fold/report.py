"""The report on folding: what was found in a network and what was done, one row per block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn

from senet.gates.statistics import BlockGates
from senet.graph.capture import as_written
from senet.graph.report import Finding, Report
from senet.surgery.fold.removal import Removal
from senet.surgery.fold.trial import Trial


@dataclass(eq=False)
class FoldedBlock:
    """The findings about one block, and whether it was folded.

    Attributes:
        path: the path of the block in the network.
        module: the block itself.
        gates: its gates over the images; ``None`` where they are not one number per image and
            channel.
        removal: how it is taken out; ``None`` where it cannot be.
        alone: the network with only this block folded; ``None`` where that was not tried.
        why: why it was not folded; empty where it was.
    """

    path: str
    module: nn.Module
    gates: BlockGates | None = None
    removal: Removal | None = None
    alone: Trial | None = None
    why: str = ""

    @property
    def folded(self) -> bool:
        return not self.why

    @property
    def into(self) -> tuple[str, ...]:
        """The modules whose weights take the gates, or could take them."""
        edits = () if self.removal is None else self.removal.edits
        return tuple(dict.fromkeys(edit.name.rpartition(".")[0] for edit in edits))

    @property
    def parameters(self) -> int:
        """The number of parameters of the block."""
        return sum(p.numel() for p in self.module.parameters())


@dataclass
class FoldReport(Report):
    """The report of :func:`~senet.surgery.fold_gates`; it prints itself.

    Attributes:
        blocks: all blocks of the network, in its order.
        before: the network as it was.
        together: the network with all folded blocks; ``None`` if there are none.
    """

    blocks: list[FoldedBlock] = field(default_factory=list)
    before: Trial | None = None
    together: Trial | None = None

    @property
    def parameters(self) -> int:
        """The number of parameters that the network has lost."""
        return sum(block.parameters for block in self.blocks if block.folded)

    def undo(self) -> None:
        """Put all blocks back, and the weights as they were before folding, bit for bit."""
        with as_written(self.model):
            for block in reversed(self.blocks):
                if block.folded and block.removal is not None:
                    block.removal.revert()

    def write(self, blocks: list[FoldedBlock], before: Trial, together: Trial | None) -> None:
        """Enter what was found, one row per block."""
        self.blocks, self.before, self.together = blocks, before, together
        for block in blocks:
            done = f"folded into {', '.join(block.into)}" if block.folded else ""
            self.add(block.path, type(block.module).__name__, done=done, why=block.why)

    def _lines(self) -> Iterator[str]:
        yield next(super()._lines())
        if self.before is None:
            return
        rows = [
            ("", *_HEAD),
            *(_row(b, f) for b, f in zip(self.blocks, self.findings, strict=True)),
        ]
        if self.together is not None:
            rows.append(("together", "", "", *_effects(self.together, self.parameters), ""))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for path, *figures, outcome in rows:
            cells = [f.rjust(w) for f, w in zip(figures, widths[1:], strict=False)]
            yield "  ".join(["", path.ljust(widths[0]), *cells, outcome]).rstrip()
        accuracy = "" if self.before.accuracy is None else f"accuracy {self.before.accuracy:.2%}, "
        yield f"  before: {accuracy}{self.before.ms:.2f} ms a batch; each row: that block alone"


_HEAD = ("gates vary", "by class", "output off", "accuracy", "parameters", "ms saved", "")


def _row(block: FoldedBlock, finding: Finding) -> tuple[str, ...]:
    """Return the row of a block: its gates, and what folding it alone does."""
    vary = by_class = ""
    if block.gates is not None:
        vary = f"{block.gates.variation:.2%}"
        by_class = "" if len(block.gates.images) == 1 else f"{block.gates.class_dependence:.0%}"
    effects = ("", "", f"{block.parameters:,}", "")
    if block.alone is not None:
        effects = _effects(block.alone, block.parameters)
    outcome = finding.done or f"left alone: {finding.why}"
    return block.path, vary, by_class, *effects, outcome


def _effects(trial: Trial, parameters: int) -> tuple[str, str, str, str]:
    accuracy = "" if trial.accuracy is None else f"{trial.accuracy:.2%}"
    return f"{trial.change:.2%}", accuracy, f"{parameters:,}", f"{trial.saved_ms:.2f}"
