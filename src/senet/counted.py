"""Numbers of things, in words."""

from __future__ import annotations


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number and the word for what is counted.

    Args:
        number: how many there are.
        one: the word for a single thing.
        several: the word for any other number; by default ``one`` with an s.

    Example:
        >>> counted(1, "image"), counted(1200, "image"), counted(0, "class", "classes")
        ('1 image', '1,200 images', '0 classes')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"
