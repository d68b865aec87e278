"""Which files of a folder are no images, found out once, before anything is trained.

Why before: a bad file that shows only when its turn comes would leave a hole in a batch, in a
worker process that cannot tell the others, at another place every epoch. Known beforehand, it is
left out of the splits, every batch is whole, and two networks that are compared see the same.

Why by decoding: a truncated photo has a perfect header. Of a JPEG all data are read and decoded as
far as the coefficients, which finds what is missing, while pixels are made at an eighth of the size
only; other formats are decoded whole. The verdicts are kept in the user's cache folder, by size and
time of change, so that the same folder is checked once and not with every command.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

from senet.cache import cache_folder
from senet.data.decode import ImageError, open_picture

# Size, time of change, and what is wrong ("" for a good image).
Verdict = tuple[int, int, str]


def unreadable(root: Path, files: list[str]) -> dict[str, str]:
    """Those of ``files`` (relative to ``root``) that do not decode, and why not."""
    cache = _cache_file(root)
    verdicts = _load(cache)
    stamps = {file: _stamp(root / file) for file in files}
    unknown = [file for file in files if verdicts.get(file, ())[:2] != stamps[file]]
    if unknown:
        try:
            for file, reason in _decode_all(root, unknown):
                verdicts[file] = (*stamps[file], reason)
        finally:  # also when interrupted: what is known need not be found out again
            _save(cache, verdicts)
    return {file: verdicts[file][2] for file in files if verdicts[file][2]}


def _decode_all(root: Path, files: list[str]) -> Iterator[tuple[str, str]]:
    # Threads, not processes: both decoders let go of the interpreter while they work.
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with _progress(len(files)) as advance:
            for verdict in pool.map(lambda file: (file, _try(root / file)), files):
                yield verdict
                advance()
    finally:
        pool.shutdown(cancel_futures=True)


def _try(file: Path) -> str:
    try:
        open_picture(file).pixels(1, 1)
    except ImageError as error:
        return error.reason
    return ""


@contextmanager
def _progress(total: int):
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)  # standard output is for results
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("checking images", total=total)
        yield lambda: progress.advance(task)


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:  # a broken link; decoding will say so
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)


def _cache_file(root: Path) -> Path:
    name = blake2b(os.fsencode(root.resolve()), digest_size=16).hexdigest()
    return cache_folder() / "checked" / f"{name}.json"


def _decoders() -> str:
    """Another decoder may know other formats: its verdicts are its own."""
    return " ".join(f"{name} {version(name)}" for name in ("pillow", "simplejpeg"))


def _load(cache: Path) -> dict[str, Verdict]:
    try:
        stored = json.loads(cache.read_text())
        if stored["decoders"] == _decoders():
            return {file: (int(a), int(b), str(c)) for file, (a, b, c) in stored["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none yet, or not ours: checked again
    return {}


def _save(cache: Path, verdicts: dict[str, Verdict]) -> None:
    with suppress(OSError):  # nowhere to keep it: the next command checks again
        cache.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=cache.parent, suffix=".tmp")
        with os.fdopen(handle, "w") as stream:
            json.dump({"decoders": _decoders(), "files": verdicts}, stream)
        os.replace(aside, cache)
