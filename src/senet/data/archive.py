"""Zip and tar files of images, extracted once into the user's cache folder.

Reading in place would save the disk space, but not the time: a compressed tar can only be read from
its beginning, and training reads in random order. The folder of an archive is found again by its
name, size and time of change. It can be deleted at any time, and is then extracted again. Messages
name a file by the archive and its place in it: see :func:`senet.cache.name_of`.

An archive may come from anybody. Only files are taken, under names that stay within the folder; no
links, devices or programs' permissions; and no more bytes than images can unpack to.
"""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from filelock import FileLock

from senet import files
from senet.cache import archives_folder
from senet.data.walk import folders, wanted

RATIO = 100
"""Times its own size that an archive may unpack to, beyond ``SPARE`` bytes. Photos are hardly
compressed at all, and bitmaps of drawings about twenty times."""
SPARE = 100_000_000
LEAST = 512
"""Bytes that any file counts for at least: a million empty ones fill a disk too."""
CHUNK = 1 << 20

_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, RuntimeError)


def extracted(archive: Path) -> Path:
    """Return the folder with the files of an archive, in the cache.

    A single folder that holds everything is entered: ``photos/cat`` and ``cat`` are the same.

    Args:
        archive: a zip or tar file.

    Raises:
        ValueError: if it is damaged, locked by a password, holds names that lead out of it, or
            unpacks to more than images can; nothing is kept then.
        OSError: if the cache cannot be written.
    """
    place = _place(archive)
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not place.is_dir():
            with files.whole_folder(place) as aside:
                folder = aside / archive.name
                folder.mkdir()
                _extract(archive, folder)
    return _inner(place / archive.name)


def _place(archive: Path) -> Path:
    found = archive.stat()
    key = os.fsencode(f"{archive.name}/{found.st_size}/{found.st_mtime_ns}")
    return archives_folder() / blake2b(key, digest_size=8).hexdigest()


def _inner(folder: Path) -> Path:
    while True:
        inside = [entry for entry in folder.iterdir() if wanted(entry.name)]
        if len(inside) != 1 or folders(folder) != inside:
            return folder
        folder = inside[0]


def _extract(archive: Path, folder: Path) -> None:
    budget = RATIO * archive.stat().st_size + SPARE
    try:
        with _opened(archive) as stream:
            for name, content in _members(archive, stream):
                place = folder / _inside(archive, name)
                if not all(map(wanted, place.relative_to(folder).parts)):
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                budget -= max(LEAST, _write(place, content, budget))
                if budget < 0:
                    raise ValueError(
                        f"{archive} is refused as an extraction bomb: it unpacks to more than "
                        f"{RATIO} times its size. If it is genuine, unpack it yourself and name "
                        "the folder"
                    )
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the system; damaged gzip and bzip2 have no number
        reason = str(error) or type(error).__name__
        raise ValueError(f"{archive} cannot be unpacked: {reason}") from error


def _write(place: Path, content: IO[bytes], budget: int) -> int:
    """Write a file, and return its size; stop where there are more bytes than allowed."""
    size = 0
    with content, place.open("wb") as file:
        while size <= budget and (chunk := content.read(CHUNK)):
            size += file.write(chunk)
    return size


def _inside(archive: Path, name: str) -> PurePosixPath:
    """Return the path of a member; refuse one that leads out of the archive's folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = len(path.parts) > 0 and path.parts[0].endswith(":")
    if path.is_absolute() or ".." in path.parts or drive or "\0" in name or not path.parts:
        raise ValueError(
            f"{archive} is refused: it holds the file {name!r}, which is outside of it. Unpack it "
            "yourself if you trust it, and name the folder"
        )
    return path


def _members(archive: Path, stream: BinaryIO) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name of each file and what to read it from."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(stream) as zipped:
            for info in zipped.infolist():
                if not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16):
                    yield info.filename, zipped.open(info)
    else:
        with tarfile.open(fileobj=stream, mode="r:*") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name, content
            while tar.fileobj is not None and tar.fileobj.read(CHUNK):
                pass  # what is behind the last file has the checksum of them all


@contextmanager
def _opened(archive: Path) -> Iterator[BinaryIO]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)  # standard output is for results
    with (
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
        progress.open(archive, "rb", description=f"unpacking {archive.name}") as stream,
    ):
        yield stream
