"""Classes of very unequal sizes, and what can be done about them."""

from __future__ import annotations

from collections.abc import Sequence

UNEQUAL = 10
"""From this ratio of the largest class to the smallest on, a remedy is named."""


def about_unequal(images: Sequence[int]) -> str:
    """Return what to say of classes of very unequal sizes; empty if they are not.

    Args:
        images: the number of training images of each class.

    Example:
        >>> about_unequal([300, 3])
        '3 to 300 training images; `senet train --set balance=true` has each class count the same'
        >>> about_unequal([300, 30])
        ''
    """
    least, most = min(images), max(images)
    if most <= UNEQUAL * least:
        return ""
    return (
        f"{least:,} to {most:,} training images; `senet train --set balance=true` has each class "
        "count the same"
    )
