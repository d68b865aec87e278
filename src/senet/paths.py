"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path

from senet.near import near

LABELS = "labels.npz"


def expanded(place: str | os.PathLike[str]) -> Path:
    """Return the path that ``~/photos`` or ``$DATA/photos`` stands for.

    Unknown variables stay as written. A shell expands ``~`` only at the start of a word: it leaves
    ``--out=~/photos`` as it is.

    Example:
        >>> os.environ["DATA"] = "/mnt"
        >>> expanded("$DATA/photos").as_posix(), expanded("runs/$x").as_posix()
        ('/mnt/photos', 'runs/$x')
    """
    return Path(os.path.expandvars(os.fspath(place))).expanduser()


def is_place(name: str) -> bool:
    """Return whether a word can only be a path, and not the name of a data set.

    Example:
        >>> is_place("./photos"), is_place("/mnt/photos"), is_place("food101")
        (True, True, False)
    """
    return name.startswith((".", "~", "$")) or os.path.isabs(name)


def is_url(word: str) -> bool:
    """Return whether ``word`` is the address of a file on the web.

    Example:
        >>> is_url("https://example.org/a.pth"), is_url("timm/seresnet50.a1_in1k")
        (True, False)
    """
    return word.startswith(("https://", "http://"))


def is_mosaic(path: Path) -> bool:
    """Return whether a folder holds images in mosaics, as :mod:`senet.data.mosaic` reads them."""
    return (path / LABELS).is_file()


def no_folder(name: str | os.PathLike[str]) -> str:
    """Return the message about a missing folder: how far its path exists, and what may be meant.

    Example:
        >>> no_folder("/no/photos")
        "there is no folder '/no/photos': there is no '/no' either"
    """
    path = expanded(name)
    text = f"there is no folder {os.fspath(name)!r}"
    above = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if above != path.absolute().parent:
        first = path.absolute().relative_to(above).parts[0]
        return f"{text}: there is no {str(above / first)!r} either"
    try:
        beside = [entry.name for entry in above.iterdir() if entry.is_dir()]
    except OSError:
        beside = []
    return f"{text}.{guess}" if (guess := near(path.name, beside)) else text
