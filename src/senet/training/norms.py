"""Whether the batch norms of weights keep their statistics while these are fine-tuned."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

SMALL_BATCH = 64
"""Statistics of fewer images than this are too noisy to replace those of the weights."""


def norms_of(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms that have statistics of their own."""
    found = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    return [norm for norm in found if norm.running_mean is not None]


def are_folded(model: nn.Module) -> bool:
    """Return whether all norms were folded into the convolutions before them.

    A norm is folded if its mean is 0 and its variance the same number in every channel: it leaves
    maps as they are. In training it would subtract the mean of the batch, and the network compute
    something else than its weights were made for.

    Example:
        >>> norm = nn.BatchNorm2d(4)
        >>> are_folded(norm)
        True
        >>> norm.running_mean.add_(1)
        tensor([1., 1., 1., 1.])
        >>> are_folded(norm)
        False
    """
    norms = norms_of(model)
    return bool(norms) and all(
        not norm.running_mean.any()  # type: ignore[union-attr]
        and bool((norm.running_var == norm.running_var[0]).all())  # type: ignore[union-attr, index]
        for norm in norms
    )


def frozen(model: nn.Module, asked: str, batch_size: int) -> tuple[bool, str]:
    """Return whether the statistics of the norms stay as they are, and the reason in words.

    Args:
        model: the network with the weights that it begins with.
        asked: ``"frozen"``, ``"train"`` or ``"auto"``: frozen if the norms are folded, or if a
            batch has fewer than 64 images.
        batch_size: images per step.
    """
    if asked != "auto":
        return asked == "frozen", "as asked"
    if are_folded(model):
        return True, "they are folded into the convolutions"
    if batch_size < SMALL_BATCH:
        return True, f"batches of {batch_size} images are fewer than {SMALL_BATCH}"
    return False, f"batches have at least {SMALL_BATCH} images"
