"""SE blocks that hardly react to the image, folded into the weights beside them.

The paper finds gates near the end of the network that are nearly the same for all images (section
6.4). A block whose gates never move multiplies its feature map by constants, and these go into the
norm or the convolution beside it (:mod:`senet.surgery.fold.absorb`): exactly, and without
parameters or time of their own.

1. Record the gates of every block over the calibration images.
2. Find the weights that can take them, and check on a sample that they do.
3. Fold each block that qualifies by itself, to see the change of output, accuracy and time.
4. Fold those whose gates vary no more than the tolerance, or as many as the accuracy allows.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn

from senet.gates.find import blocks_of
from senet.gates.record import record
from senet.graph.capture import as_written, evaluating
from senet.graph.flow import flow_of
from senet.graph.report import require_bare
from senet.surgery.fold.absorb import Absorber, NoPlaceError
from senet.surgery.fold.removal import Removal, removed, settle
from senet.surgery.fold.report import FoldedBlock, FoldReport
from senet.surgery.fold.trial import Calibration, Trial, accuracy, try_out


def fold_gates(
    model: nn.Module,
    loader: Iterable[Any],
    tolerance: float | str = 0.01,
    *,
    max_loss: float = 0.001,
) -> FoldReport:
    """Replace SE blocks whose gates hardly move by their mean gates, in the weights beside them.

    The network is changed in place; ``report.undo()`` undoes that, and an interrupt leaves it as it
    was. A block stays if no weights can take its gates, as after an addition whose terms are used
    elsewhere; the report says so. An accelerated network is folded, tried and timed as it was
    written, and is accelerated again afterwards.

    Args:
        model: any network; blocks of channel attention of any make are found by what they do.
        loader: the calibration images, iterated over several times: batches of images as the
            network takes them, ``[B, channels, H, W]``, or pairs of these and class numbers
            ``[B]``.
        tolerance: a block is folded if its gates vary no more than this: their standard deviation
            over images, relative to their size (:attr:`~senet.gates.BlockGates.variation`). Or
            ``"auto"``, which needs labels: beginning with the block whose folding changes the
            output least, every block is folded that leaves the accuracy on these images within
            ``max_loss`` of what it was.
        max_loss: largest loss of accuracy, as a share of the images; for ``"auto"``.

    Returns:
        For each block its gates, where they can go, and what folding it alone does to output,
        accuracy and time; and the effect of all folded blocks together. The accuracy is that on the
        images on which the choice was made: measure it on others before you rely on it.

    Raises:
        ValueError: if the network is wrapped for parallel training or has no such block, or an
            argument is invalid.

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
    with as_written(model), evaluating(model), torch.no_grad(), ExitStack() as until_done:
        blocks = [FoldedBlock(path, module) for path, module in blocks_of(model).items()]
        if not blocks:
            raise ValueError(f"{type(model).__name__} has no SE block, so there is nothing to fold")
        images = Calibration(model, loader)
        if tolerance == "auto" and not images.labelled:
            raise ValueError(
                'tolerance="auto" weighs accuracy, and the loader yields no labels: let it yield '
                "(images, class numbers), or give a number as tolerance"
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


def _look_at(model: nn.Module, blocks: list[FoldedBlock], images: Calibration) -> None:
    """Find the gates of every block, and the weights that can take them, or why there are none."""
    modules = {block.path: block.module for block in blocks}
    gates = record(model, images.batches("gates"), images.classes, blocks=modules)
    flow = flow_of(model, images.sample, modules.values())
    absorber = Absorber(model, flow)
    for block in blocks:
        seen, calls = gates.get(block.path), flow.calls_of(block.module)
        if seen is None or seen.why:
            block.why = "no image runs through it" if seen is None else seen.why
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
    """Try the blocks that qualify one by one, and note why the others are not folded."""
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
    """Return the loss of accuracy, up to the rounding of shares of whole numbers."""
    assert before.accuracy is not None
    assert share is not None
    return before.accuracy - share - 1e-9
