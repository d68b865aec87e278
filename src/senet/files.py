"""Files that are whole or not there: written aside, then renamed; and their checksums.

Whatever ends a program in the midst of writing, a full disk or a kill, the file of before is still
whole. A file may be read by whom the umask says, whoever has written its content.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_COUNT = itertools.count()  # two threads may write the same file


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a file beside ``path`` to write to, which takes its place in the end.

    On an error the file beside is removed, and what was at ``path`` stays.

    Args:
        path: of the file. Its name is the end of the other's name, so both have the same suffix.

    Raises:
        OSError: if it cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole(f"{folder}/a.txt") as aside:
        ...         size = aside.write_text("text")
        ...     [path.name for path in Path(folder).iterdir()]
        ['a.txt']
    """
    path = Path(path)
    aside = path.with_name(f".{os.getpid()}-{next(_COUNT)}.{path.name}")
    try:
        aside.touch()
        mode = aside.stat().st_mode  # as the umask says
        yield aside
        if aside.stat().st_mode != mode:  # some libraries let the owner alone read what they write
            aside.chmod(mode)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Write a file, whole or not at all. Raises as :func:`whole`."""
    with whole(path) as aside:
        aside.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file in UTF-8, whole or not at all. Raises as :func:`whole`."""
    write_bytes(path, text.encode())


@contextmanager
def continued(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give ``path.part`` to write to, which takes the place of ``path`` in the end.

    On an error it stays, for the next attempt to go on from: what comes slowly is not fetched
    twice. The caller makes sure that no other process writes it too.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    yield part
    os.replace(part, path)


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content, as hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
