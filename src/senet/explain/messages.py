"""The words of the page, in every language, from one catalogue: ``messages.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from markupsafe import Markup, escape

LANGUAGES = ("en", "zh-TW")


@cache
def catalogue() -> dict[str, dict[str, str]]:
    """Return every message by its key, in every language."""
    return tomllib.loads((files("senet.explain") / "messages.toml").read_text(encoding="utf-8"))


def text(key: str, language: str = "en", **values: object) -> str:
    """Return a message in one language.

    Example:
        >>> text("images", n=3), text("images", "zh-TW", n=3)
        ('3 images', '3 張影像')
    """
    return catalogue()[key][language].format(**values)


def both(key: str, **values: object) -> Markup:
    """Return a message for a page, in all languages; the page shows that of its reader.

    Example:
        >>> both("images", n=3)
        Markup('<span lang="en">3 images</span><span lang="zh-TW">3 張影像</span>')
    """
    spans = (
        f'<span lang="{language}">{escape(text(key, language, **values))}</span>'
        for language in LANGUAGES
    )
    return Markup("".join(spans))
