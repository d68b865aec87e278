"""The exact ablation: what a network loses with other gates in a block, and in all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from senet.gates import BlockGates, Rerun, blocks_of
from senet.graph.capture import evaluating
from senet.paired import CONFIDENCE, Estimate, difference, mcnemar, pair

FORMS = ("one", "mean", "other")
"""What the gates are replaced by: 1, their mean over the data set, those of another image."""

RESAMPLES = 2000


@dataclass(frozen=True)
class Ablation:
    """What the network said of every image, as it is and with gates replaced.

    Attributes:
        blocks: the paths of the blocks that were replaced one by one; after them comes a column
            for all of them at once.
        loss: the cross-entropy, ``[forms, blocks + 1, images]``, by the order of :data:`FORMS`.
        right: whether the answer was right, likewise.
        intact_loss: the cross-entropy of the network as it is, ``[images]``.
        intact_right: whether its answer was right, ``[images]``.
        own: whether the network's own answers stand for the labels, which it does not know.
    """

    blocks: tuple[str, ...]
    loss: np.ndarray
    right: np.ndarray
    intact_loss: np.ndarray
    intact_right: np.ndarray
    own: bool

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.intact_loss)

    @classmethod
    def of_parts(cls, parts: Sequence[Ablation | None]) -> Ablation | None:
        """Return the ablation of the images of all parts, in their order."""
        known = [one for one in parts if one is not None]
        if not known:
            return None
        return cls(
            known[0].blocks,
            np.concatenate([one.loss for one in known], 2),
            np.concatenate([one.right for one in known], 2),
            np.concatenate([one.intact_loss for one in known]),
            np.concatenate([one.intact_right for one in known]),
            known[0].own,
        )


@dataclass(frozen=True)
class Worth:
    """What one replacement does: replaced minus intact, paired image by image.

    Attributes:
        block: path of the block; empty for all at once.
        form: one of :data:`FORMS`.
        accuracy: the change of the share of right answers, with Newcombe's interval.
        loss: the change of the cross-entropy, with the interval of a bootstrap over images.
        lost: images that only the intact network answers rightly.
        won: images that only the other does.
        p: p-value of McNemar's exact test, that losing and winning are equally likely.
    """

    block: str
    form: str
    accuracy: Estimate
    loss: Estimate
    lost: int
    won: int
    p: float


@torch.no_grad()
def ablate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    blocks: Mapping[str, BlockGates],
    *,
    own: bool = False,
) -> Ablation | None:
    """Replace the gates of every block, and of all at once, by 1, their mean and another image's.

    A batch takes one forward pass for each block and form, of which only what follows the block is
    computed: see :class:`.Rerun`. Another image's gates are those of the image before in the
    batch, in the intact network; batches of one image are left out.

    Args:
        model: the network.
        batches: inputs with their labels; iterated over once.
        blocks: the gates of a data set, of :func:`senet.gates.record`: their means are taken from
            them. Blocks that do more than multiply by their gates are left out.
        own: compare with the network's own answers, where labels are not among its outputs.

    Raises:
        ValueError: if the network does not return logits, ``[B, classes]``.

    Returns:
        What the network said; ``None`` if there were no batches, or no block can be replaced.

    Example:
        >>> from senet import create_model
        >>> from senet.gates import record
        >>> model = create_model("se_resnet8_cifar", num_classes=2)
        >>> batch = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 0, 1, 0, 1])
        >>> found = ablate(model, [batch], record(model, [batch], classes=2))
        >>> found.loss.shape  # three forms, three blocks and all, six images
        (3, 4, 6)
    """
    paths = tuple(path for path, block in blocks.items() if not block.why)
    parts = []
    with evaluating(model):
        modules = {path: module for path, module in blocks_of(model).items() if path in paths}
        for x, labels in batches:
            if paths and len(x) > 1:
                ran = Rerun(model, modules, x)
                _require_logits(ran.y)
                targets = ran.y.argmax(1) if own else labels.to(ran.y.device)
                parts.append(_batch(ran, blocks, paths, targets))
    if not parts:
        return None
    loss, right = (np.concatenate(part, 2) for part in zip(*parts, strict=True))
    # The first form begins with the intact network.
    return Ablation(paths, loss[1:, 1:], right[1:, 1:], loss[0, 0], right[0, 0], own)


def _require_logits(y: object) -> None:
    if not (isinstance(y, Tensor) and y.dim() == 2):
        form = f"a tensor {list(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise ValueError(
            f"the exact ablation compares answers, so the network must return logits [B, classes]; "
            f"it returned {form}"
        )


def _batch(
    ran: Rerun, blocks: Mapping[str, BlockGates], paths: tuple[str, ...], targets: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return loss and right of a batch, ``[1 + forms, 1 + blocks + 1, B]``; row 0 is intact."""
    shape = (1 + len(FORMS), 1 + len(paths) + 1, len(targets))
    loss, right = np.zeros(shape, np.float32), np.zeros(shape, bool)

    def put(at: tuple[int, int], y: Tensor) -> None:
        loss[at] = F.cross_entropy(y.float(), targets, reduction="none").cpu().numpy()
        right[at] = (y.argmax(1) == targets).cpu().numpy()

    put((0, 0), ran.y)
    for i, form in enumerate(FORMS, 1):
        makers = {path: _maker(form, blocks[path], ran.gates[path]) for path in paths}
        for k, path in enumerate(paths, 1):
            put((i, k), ran.replaced({path: makers[path]}))
        put((i, len(paths) + 1), ran.replaced(makers))
    return loss, right


def _maker(form: str, block: BlockGates, s: Tensor) -> Callable[[Tensor], Tensor]:
    if form == "one":
        return lambda u: u.new_ones(u.shape[:2])
    if form == "mean":
        mean = block.overall.to(s)
        return lambda u: mean.expand(len(u), -1)
    return lambda u: s.roll(1, 0)


def worth(found: Ablation) -> list[Worth]:
    """Return what every replacement does, block by block, then all at once.

    Intervals of the loss come from 2,000 bootstrap resamples of the images (Efron, 1979), the same
    for all; those of the accuracy are Newcombe's for paired proportions, which stay honest where
    few images change their answer, or none: see :func:`senet.paired.difference`.

    Example:
        >>> loss, right = np.ones((3, 2, 50)), np.ones((3, 2, 50), bool)
        >>> one = worth(Ablation(("se",), loss, right, 0.5 * loss[0, 0], right[0, 0], False))[0]
        >>> round(one.loss.value, 6), one.accuracy
        (0.5, Estimate(value=0.0, low=-0.071..., high=0.071...))
    """
    losses = _resampled(found.loss.astype(float) - found.intact_loss)
    outcomes = [[pair(found.intact_right, own) for own in form] for form in found.right]
    return [
        Worth(
            block,
            form,
            difference(outcomes[i][k]),
            Estimate(*map(float, losses[:, i, k])),
            outcomes[i][k].only_plain,
            outcomes[i][k].only_se,
            mcnemar(outcomes[i][k]),
        )
        for k, block in enumerate((*found.blocks, ""))
        for i, form in enumerate(FORMS)
    ]


def _resampled(changes: np.ndarray) -> np.ndarray:
    """Return the mean over images, the last axis, and the ends of its interval: ``[3, ...]``."""
    n = changes.shape[-1]
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
    tail = 100 * (1 - CONFIDENCE) / 2
    ends = np.percentile(changes @ weights.T, (tail, 100 - tail), axis=-1)
    return np.concatenate([changes.mean(-1)[None], ends])
