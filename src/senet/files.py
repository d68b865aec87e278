"""Files that are whole or not there: written aside, then renamed; and their checksums.

Whatever stops a program while it writes, a full disk or a kill, the previous file is still whole.
The umask decides who may read a file, whichever library has written its content.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_COUNT = itertools.count()  # two threads may write the same file


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _beside(path: Path) -> Path:
    """Return a name in the same folder that nothing has."""
    return path.with_name(f".{os.getpid()}-{next(_COUNT)}.{path.name}")


@contextmanager
def _named(path: Path, aside: Path) -> Iterator[None]:
    """Have errors name the file to write, not the one that is copied, nor the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL or error.filename in (str(aside), aside):
            error.filename, error.filename2 = str(path), None
        raise


def require_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before the work that it is for.

    Raises:
        OSError: if it cannot; the error names it.
    """
    aside = _beside(path)
    with _named(path, aside):
        aside.touch()
        aside.unlink()


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file beside ``path`` to write to, which replaces ``path`` in the end.

    On an error the temporary file is removed, and what was at ``path`` stays.

    Args:
        path: the file to write. The temporary file's name ends with its name, suffix included.

    Raises:
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole(f"{folder}/a.txt") as aside:
        ...         size = aside.write_text("text")
        ...     [path.name for path in Path(folder).iterdir()]
        ['a.txt']
    """
    path = Path(path)
    aside = _beside(path)
    try:
        with _named(path, aside):
            aside.touch()
            mode = aside.stat().st_mode  # as the umask says
            yield aside
            if aside.stat().st_mode != mode:  # some libraries let only the owner read
                aside.chmod(mode)
            os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new folder beside ``path`` to fill, which takes its place in the end.

    On an error it is removed. There must be nothing at ``path``.

    Raises:
        OSError: if it cannot be made, or something is at ``path``.
    """
    path = Path(path)
    aside = _beside(path)
    try:
        aside.mkdir()
        yield aside
        os.replace(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_bytes(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Write a file, whole or not at all; raise as :func:`whole` does."""
    with whole(path) as aside:
        aside.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file in UTF-8, whole or not at all; raise as :func:`whole` does."""
    write_bytes(path, text.encode())


@contextmanager
def new(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file beside ``path`` to write to, which becomes ``path`` in the end.

    Like :func:`whole`, but what is at ``path`` by then stays.

    Raises:
        FileExistsError: if something is there.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    aside = _beside(path)
    try:
        with _named(path, aside):
            yield aside
            try:
                os.link(aside, path, follow_symlinks=False)
            except OSError:  # also where a file can have one name only, as on memory cards
                if os.path.lexists(path):
                    raise FileExistsError(f"{path} already exists") from None
                os.rename(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def continued(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield ``path.part`` to write to, which replaces ``path`` in the end.

    On an error it stays, so that the next attempt continues a slow download instead of repeating
    it. The caller makes sure that no other process writes it too.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    yield part
    os.replace(part, path)


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content, as hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
