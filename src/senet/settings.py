"""What is written after ``--set``: ``KEY=VALUE``, from text to values of the right kind."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType
from typing import Any, get_args, get_origin

import typer


def pairs(settings: Iterable[str], option: str = "--set") -> dict[str, str]:
    """Keys and the texts of their values; ``batch-size`` is ``batch_size``.

    Args:
        settings: as written.
        option: after which they were written, for the message.

    Raises:
        typer.BadParameter: where there is no ``=``.

    Example:
        >>> pairs(["lr=0.1", "stem-pool = ceil"])
        {'lr': '0.1', 'stem_pool': 'ceil'}
    """
    found = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{option} {setting}: write it as KEY=VALUE")
        found[key.strip().replace("-", "_")] = text.strip()
    return found


def value(text: str, kind: Any) -> Any:
    """A value that was written as text: ``3``, ``1e-3``, ``true``, ``none``, ``1,2,3``, or a word.

    Args:
        text: as written.
        kind: the type that is wanted, a union with ``None`` too: words that look like numbers stay
            words where a word is wanted, and one number is a sequence where that is wanted.

    Example:
        >>> value("32", str), value("82", tuple[int, ...]), value("1e-3", float)
        ('32', (82,), 0.001)
        >>> value("none", int | None), value("16,32", NoneType)
        (None, (16, 32))
    """
    kinds = {get_origin(k) or k for k in (get_args(kind) if NoneType in get_args(kind) else [kind])}
    if NoneType in kinds and text.lower() == "none":
        return None
    if str in kinds:
        return text
    if tuple in kinds or "," in text:
        return tuple(_scalar(part.strip()) for part in text.split(",") if part.strip())
    return _scalar(text)


def _scalar(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text  # whoever gets it says what it may be
