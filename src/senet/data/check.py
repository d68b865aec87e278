"""Find out which files of a folder are not images, once, before anything is trained.

Why before: a bad file that shows only when its turn comes would leave a hole in a batch, in a
worker process that cannot tell the others, at another place every epoch. Known beforehand, it is
left out of the splits, every batch is whole, and two networks that are compared see the same
images.

Why by decoding: a truncated photo has a perfect header. All data of a JPEG are read and decoded as
far as the coefficients, which finds what is missing, while pixels are made only at an eighth of the
size; other formats are decoded whole. The verdict on a file is kept in the user's cache folder, by
its size and times, so that a folder is checked once and not by every command. An error of the
system, such as a lock or a missing permission, says nothing about the content and is not kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from senet.cache import cache_folder
from senet.data.decode import ImageError, open_picture, read_file
from senet.files import write_text

DIGEST = 6  # bytes that tell two contents apart
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Verdict:
    """The outcome of checking a file.

    Attributes:
        reason: why it cannot be used; empty for a good image.
        digest: digest of its content, as hexadecimal digits.
        height: height of the upright image in pixels; 0 where the file is not an image.
        width: width, likewise.
        lasting: whether the verdict is about the content, and not about the system.
    """

    reason: str = ""
    digest: str = ""
    height: int = 0
    width: int = 0
    lasting: bool = True


def examine(root: Path, files: list[str]) -> dict[str, Verdict]:
    """Return the verdict on each of ``files``, relative to ``root``."""
    cache = _cache_file(root)
    known = _load(cache)
    stamps = {file: _stamp(root / file) for file in files}
    verdicts = {f: known[f][1] for f in files if f in known and known[f][0] == stamps[f]}
    unknown = [file for file in files if file not in verdicts]
    if unknown:
        try:
            for file, verdict in _examine_all(root, unknown):
                verdicts[file] = verdict
                if verdict.lasting:
                    known[file] = (stamps[file], verdict)
        finally:  # also when interrupted: known verdicts need not be found again
            _save(cache, known)
    return verdicts


def _examine_all(root: Path, files: list[str]) -> Iterator[tuple[str, Verdict]]:
    # Threads, not processes: both decoders let go of the interpreter while they work.
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with _progress(len(files)) as advance:
            for verdict in pool.map(lambda file: (file, _try(root / file)), files):
                yield verdict
                advance()
    finally:
        pool.shutdown(cancel_futures=True)


def _try(file: Path) -> Verdict:
    try:
        data = read_file(file)
    except ImageError as error:
        return Verdict(error.reason, lasting=False)
    digest = blake2b(data, digest_size=DIGEST).hexdigest()
    try:
        picture = open_picture(data, name=str(file))
        picture.pixels(1, 1)
    except ImageError as error:
        return Verdict(error.reason, digest, lasting=not isinstance(error.__cause__, MemoryError))
    return Verdict("", digest, picture.height, picture.width)


@contextmanager
def _progress(total: int):
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)  # standard output is for results
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("checking images", total=total)
        yield lambda: progress.advance(task)


def _stamp(file: Path) -> Stamp:
    """Return size and times of the last changes of content and of properties (not settable)."""
    try:
        found = file.stat()
    except OSError:  # a broken link; reading will say so
        return (0, 0, 0)
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _cache_file(root: Path) -> Path:
    name = blake2b(os.fsencode(root.resolve()), digest_size=16).hexdigest()
    return cache_folder() / "checked" / f"{name}.json"


def _decoders() -> str:
    """Return the versions of the decoders, on which the verdicts depend."""
    names = [name for name in ("pillow", "simplejpeg", "pillow-heif") if _installed(name)]
    return " ".join(f"{name} {version(name)}" for name in names)


def _installed(name: str) -> bool:
    return find_spec({"pillow": "PIL"}.get(name, name.replace("-", "_"))) is not None


def _load(cache: Path) -> dict[str, tuple[Stamp, Verdict]]:
    try:
        stored = json.loads(cache.read_text())
        if stored["decoders"] == _decoders():
            return {
                file: ((int(a), int(b), int(c)), Verdict(str(why), str(digest), int(h), int(w)))
                for file, (a, b, c, why, digest, h, w) in stored["files"].items()
            }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none yet, or not ours: checked again
    return {}


def _save(cache: Path, known: dict[str, tuple[Stamp, Verdict]]) -> None:
    files = {f: [*stamp, v.reason, v.digest, v.height, v.width] for f, (stamp, v) in known.items()}
    with suppress(OSError):  # it cannot be kept: the next command checks again
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_text(cache, json.dumps({"decoders": _decoders(), "files": files}))
