"""SE blocks that hardly react to the image, folded into the weights beside them.

The paper finds gates near the end of the network that are nearly the same for all images (section
6.4). A block whose gates never move multiplies its map with constants, and these go into the norm
or the convolution beside it (:mod:`senet.surgery.fold.absorb`): exact, no parameters, no time.

1. Record the gates of every block over the calibration images.
2. Find the weights that can take them, and hold on a sample that they do.
3. Try each block that qualifies by itself: what becomes of the output, the accuracy, the time.
4. Fold those whose gates vary no more than the tolerance, or as many as the accuracy allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from senet.gates.record import gates_of, record
from senet.gates.statistics import BlockGates
from senet.graph.capture import as_written
from senet.graph.flow import flow_of
from senet.graph.report import Finding, Report, require_bare
from senet.surgery.fold.absorb import Absorber, NoPlaceError
from senet.surgery.fold.removal import Removal, removed, settle
from senet.surgery.fold.trial import Calibration, Trial, accuracy, try_out


def fold_gates(
    model: nn.Module,
    loader: Iterable[Any],
    tolerance: float | str = 0.01,
    *,
    max_loss: float = 0.001,
) -> FoldReport:
    """Replace SE blocks whose gates hardly move by their mean gates, in the weights beside them.

    The network is changed in place; ``report.undo()`` takes that back, and an interrupt leaves it
    as it was. A block stays where no weights can take its gates, as after an addition whose terms
    are used elsewhere; the report says so. An accelerated network is folded, tried and timed as it
    was written, and is accelerated again afterwards.

    Args:
        model: any network; blocks of channel attention of any make are found by what they do.
        loader: the calibration images, gone through several times: batches of images as the network
            takes them, ``[B, channels, H, W]``, or pairs of these and class numbers ``[B]``.
        tolerance: a block is folded if its gates vary no more than this: their standard deviation
            over images, beside their size (:attr:`~.BlockGates.variation`). Or
            ``"auto"``, which needs labels: beginning with the block whose folding changes the
            output least, every block is folded that leaves the accuracy on these images within
            ``max_loss`` of what it was.
        max_loss: of accuracy, as a share of the images; for ``"auto"``.

    Returns:
        For each block its gates, where they can go, and what folding it alone does to output,
        accuracy and time; and what all that were folded do together. The accuracy is that of the
        images the choice was made on: measure it on others before you rely on it.

    Raises:
        ValueError: if the network is wrapped for parallel training, has no such block, or an
            argument is not as said above.

    Example:
        >>> from senet import create_model
        >>> _ = torch.manual_seed(2)  # some draws leave a block with no hidden unit awake
        >>> model = create_model("se_resnet8_cifar")
        >>> for name in ("layer1.0.se.fc2.weight", "layer3.0.se.fc2.weight"):
        ...     _ = nn.init.zeros_(model.get_parameter(name))  # these gates are constants now
        >>> report = fold_gates(model, [torch.randn(8, 3, 32, 32)], tolerance=1e-6)
        >>> [(block.path, block.into) for block in report.blocks if block.folded]
        [('layer1.0.se', ('layer1.0.bn2',)), ('layer3.0.se', ('layer3.0.bn2',))]
        >>> model.layer1[0].se is None
        True
        >>> report.undo()
        >>> model.layer1[0].se is None
        False
    """
    require_bare(model)
    _check(tolerance, max_loss)
    with as_written(model), _evaluating(model), torch.no_grad(), ExitStack() as until_done:
        blocks = [FoldedBlock(path, m) for path, m in model.named_modules() if path and gates_of(m)]
        if not blocks:
            raise ValueError(f"{type(model).__name__} has no SE block, so there is nothing to fold")
        images = Calibration(model, loader)
        if tolerance == "auto" and not images.labelled:
            raise ValueError(
                'tolerance="auto" weighs accuracy, and the loader gives no labels: let it give '
                "(images, class numbers), or name a tolerance"
            )
        _look_at(model, blocks, images)
        _choose(model, blocks, images, tolerance, max_loss)
        removals = [b.removal for b in blocks if b.removal and b.folded]
        forms = {"together": partial(removed, removals)} if removals else {}
        before, tried = try_out(model, images, forms, "together")
        for removal in removals:
            until_done.callback(removal.revert)
            removal.apply()
        name = type(model).__name__
        report = FoldReport(f"gates of {name} on {images.images:,} images", model)
        report.write(blocks, before, tried.get("together"))
        until_done.pop_all()
    return report


def _check(tolerance: float | str, max_loss: float) -> None:
    if isinstance(tolerance, str) and tolerance != "auto":
        raise ValueError(f'tolerance must be a number or "auto", got {tolerance!r}')
    if not isinstance(tolerance, str) and not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}")
    if not 0 <= max_loss <= 1:
        raise ValueError(f"max_loss is a share of the images, 0 … 1, got {max_loss}")


@dataclass(eq=False)
class FoldedBlock:
    """One block: what was found out about it, and whether it was folded.

    Attributes:
        path: of the block in the network.
        module: the block itself.
        gates: over the images; ``None`` where they are not one number an image and channel.
        removal: how it is taken out; ``None`` where it cannot be.
        alone: the network with this block folded and no other; ``None`` where that was not tried.
        why: it was not folded; empty where it was.
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
        """The modules whose weights take the gates, or could."""
        edits = () if self.removal is None else self.removal.edits
        return tuple(dict.fromkeys(edit.name.rpartition(".")[0] for edit in edits))

    @property
    def parameters(self) -> int:
        """That the block has."""
        return sum(p.numel() for p in self.module.parameters())


@dataclass
class FoldReport(Report):
    """What :func:`fold_gates` found and did; it prints itself.

    Attributes:
        blocks: all of the network, in its order.
        before: the network as it was.
        together: the network with all blocks folded that were; ``None`` if there are none.
    """

    blocks: list[FoldedBlock] = field(default_factory=list)
    before: Trial | None = None
    together: Trial | None = None

    @property
    def parameters(self) -> int:
        """That the network has less."""
        return sum(block.parameters for block in self.blocks if block.folded)

    def undo(self) -> None:
        """Put all blocks back, and the weights as they were before folding, bit for bit."""
        with as_written(self.model):
            for block in reversed(self.blocks):
                if block.folded and block.removal is not None:
                    block.removal.revert()

    def write(self, blocks: list[FoldedBlock], before: Trial, together: Trial | None) -> None:
        """Enter what was found."""
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
    """The gates of a block, and what folding it alone does."""
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


def _look_at(model: nn.Module, blocks: list[FoldedBlock], images: Calibration) -> None:
    """The gates of every block, and the weights that can take them, or why there are none."""
    modules = {block.path: block.module for block in blocks}
    gates = record(model, modules, images.batches("gates"), images.classes)
    flow = flow_of(model, images.sample, modules.values())
    absorber = Absorber(model, flow)
    for block in blocks:
        seen, calls = gates[block.path], flow.calls_of(block.module)
        if isinstance(seen, str):
            block.why = seen
            continue
        block.gates = seen
        if len(calls) != 1:
            block.why = f"it is called {len(calls)} times"
            continue
        try:
            edits = absorber.around(calls[0], seen.overall)
        except NoPlaceError as error:
            block.why = str(error)
            continue
        removal = Removal(model, block.path, edits)
        if settle(model, removal, seen.overall, images.sample):
            block.removal = removal
        else:
            block.why = "without it, the network would compute something else"


def _choose(
    model: nn.Module,
    blocks: list[FoldedBlock],
    images: Calibration,
    tolerance: float | str,
    max_loss: float,
) -> None:
    """Try the blocks that qualify by themselves, and say why those that are not folded are not."""
    if not isinstance(tolerance, str):
        for block in blocks:
            if block.folded and block.gates is not None and block.gates.variation > tolerance:
                block.why = f"that is more than {tolerance:.2%}"
    forms = {b.path: partial(removed, [b.removal]) for b in blocks if b.removal and b.folded}
    before, alone = try_out(model, images, forms, "one by one")
    for block in blocks:
        block.alone = alone.get(block.path)
    if isinstance(tolerance, str):
        _keep_within(model, images, blocks, before, max_loss)


def _keep_within(
    model: nn.Module,
    images: Calibration,
    blocks: list[FoldedBlock],
    before: Trial,
    max_loss: float,
) -> None:
    """Leave alone the blocks that cost too much accuracy beside those tried before."""
    kept: list[Removal] = []
    tried = [(b, b.alone, b.removal) for b in blocks if b.alone and b.removal]
    for block, alone, removal in sorted(tried, key=lambda entry: entry[1].change):
        share, company = alone.accuracy, "alone"
        if kept and _loss(before, share) <= max_loss:
            company = "beside those that are folded"
            with removed([*kept, removal]):
                share = accuracy(model, images, block.path)
        if _loss(before, share) <= max_loss:
            kept.append(removal)
        else:
            block.why = f"{company}, it lowers the accuracy to {share:.2%}"


def _loss(before: Trial, share: float | None) -> float:
    """Of accuracy; what shares of whole numbers are rounded by does not count."""
    assert before.accuracy is not None
    assert share is not None
    return before.accuracy - share - 1e-9


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every module, or what is in its place, is in the mode before."""
    modes = {path: module.training for path, module in model.named_modules()}
    model.eval()
    try:
        yield
    finally:
        for path, module in model.named_modules():
            module.training = modes.get(path, module.training)
