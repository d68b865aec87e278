"""Files from the web: downloaded once, checked, and kept.

A download that was interrupted continues where it stopped, if the file can be checked at the end:
without a hash nobody would notice that the file changed in between.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock

from senet import files
from senet.cache import cache_folder

_LOST = (URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError)
_PATIENCE = 30  # seconds without a byte
_CHUNK = 1 << 20


def hash_in_name(name: str) -> str | None:
    """Return the beginning of a file's SHA-256 from its name, as PyTorch's hub writes it there.

    Example:
        >>> hash_in_name("resnet50-0676ba61.pth"), hash_in_name("model.pth")
        ('0676ba61', None)
    """
    found = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    return found[1] if found else None


def download(url: str, sha256: str | None = None) -> Path:
    """Return the file at ``url``, downloaded into the cache if it is not there yet.

    Args:
        url: an http or https address.
        sha256: SHA-256 of the file, or its beginning; by default the one in the file's name.

    Raises:
        ValueError: if it cannot be reached, the connection is lost, or the file does not match its
            hash. Nothing that could be taken for the file is left then.
    """
    file = cached(url)
    if file.is_file():
        return file
    expected = sha256 or hash_in_name(file.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        if not file.is_file():  # another process may have been faster
            with files.continued(file) as part:
                _fetch(url, part, resume=expected is not None)
                _require(part, expected, url)
    return file


def cached(url: str) -> Path:
    """Return where the file at ``url`` is kept, whether it exists or not."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name or "index"
    # Many files on the web are called model.pth: each address has a folder of its own.
    folder = hashlib.sha256(url.encode()).hexdigest()[:12]
    return cache_folder() / "weights" / folder / name


def _fetch(url: str, part: Path, resume: bool) -> None:
    """Write the whole file to ``part``, or leave the part of it that came."""
    have = part.stat().st_size if resume and part.is_file() else 0
    headers = {"User-Agent": "senet", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with urlopen(Request(url, headers=headers), timeout=_PATIENCE) as answer:
            have = (
                have if answer.status == 206 else 0
            )  # else it has all of the file, from its start
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with part.open("ab" if have else "wb") as stream, _progress(part, have, total) as tell:
                while chunk := answer.read(_CHUNK):
                    stream.write(chunk)
                    tell(len(chunk))
    except HTTPError as error:
        if error.code == 416 and have:  # there is nothing after what we have: it is another file's
            part.unlink()
            _fetch(url, part, resume)
            return
        raise ValueError(f"{url} cannot be downloaded: {error.code} {error.reason}") from error
    except _LOST as error:
        raise ValueError(_about_loss(url, part, resume, error)) from error
    if total is not None and part.stat().st_size < total:
        raise ValueError(_about_loss(url, part, resume, "it ended before the file did"))


def _about_loss(url: str, part: Path, resume: bool, reason: object) -> str:
    reason = getattr(reason, "reason", reason)
    if resume and part.is_file():
        return (
            f"{url}: the connection was lost ({reason}). The {part.stat().st_size:,} bytes that "
            "came are kept: ask again, and the download continues from there"
        )
    return (
        f"{url} cannot be reached ({reason}). Get online, or bring the file here by other means "
        "and name it instead"
    )


def _require(part: Path, expected: str | None, url: str) -> None:
    if expected is None:
        return
    found = files.sha256(part)
    if not found.startswith(expected):
        part.unlink()
        raise ValueError(
            f"{url} was refused, and not kept: its SHA-256 begins with "
            f"{found[: len(expected)]}, not with {expected}. It was damaged on its way, or "
            "has been replaced by another file"
        )


@contextmanager
def _progress(part: Path, have: int, total: int | None) -> Iterator[Callable[[int], object]]:
    """Show a bar on a terminal: how much has come, how fast, and how long it will take."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as SpeedColumn

    console = Console(stderr=True)  # standard output is for results
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), DownloadColumn(), SpeedColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(part.stem, total=total, completed=have)
        yield lambda advance: progress.advance(task, advance)
