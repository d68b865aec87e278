"""The images below a folder: one rule for all commands.

Links are followed, and no folder is entered twice. A file is an image if its name ends like one, or
else if its first bytes say so. What file managers, network disks, version control and this project
put beside images is left out: hidden files and folders, thumbnails, waste baskets, and the folders
of runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from senet.data.decode import is_image

# HEIC needs an extra: users who have such photos and not the extra are told so.
SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".gif", ".bmp"),
        *(".dib", ".tif", ".tiff", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"),
        *(".heic", ".heif"),
    )
)

# Names besides hidden ones, in lower case: those of Windows, macOS, Synology, QNAP, ext file
# systems, Android and Python.
LITTER = frozenset(
    (
        *("thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "__macosx"),
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@recycle", "@recently-snapshot"),
        *("lost+found", "lost.dir", "__pycache__"),
    )
)


@dataclass
class Walk:
    """The files below a folder.

    Attributes:
        files: the images, each folder's before those of the folders in it, in the order of names.
        skipped: other files, and folders that cannot be entered, with the reason for each.
    """

    files: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def walk(top: str | os.PathLike[str]) -> Walk:
    """Return the images below a folder, and what was skipped."""
    found = Walk()
    _enter(os.fspath(top), found, set())
    return found


def folders(path: Path) -> list[Path]:
    """Return the folders in a folder that may hold images, in the order of their names.

    Raises:
        ValueError: if the folder cannot be read.
    """
    try:
        inside = sorted(entry for entry in path.iterdir() if entry.is_dir())
    except OSError as error:
        raise ValueError(f"the folder {path} cannot be read: {error.strerror}") from error
    return [one for one in inside if wanted(one.name) and not is_run(one) and not _of_runs(one)]


def wanted(name: str) -> bool:
    """Return whether a file or folder of this name belongs to the images of a user."""
    return not name.startswith(".") and name.lower() not in LITTER


def is_run(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder is one that ``senet train`` or ``senet compare`` has written."""
    if os.path.isfile(os.path.join(folder, "comparison.json")):
        return True
    try:
        with open(os.path.join(folder, "config.json"), "rb") as file:
            return b"".join(file.read(64).split()).startswith(b'{"config":{')
    except OSError:
        return False


def _of_runs(folder: Path) -> bool:
    """Return whether a folder holds runs and nothing else, as ``runs/`` does."""
    try:
        inside = [entry for entry in folder.iterdir() if wanted(entry.name)]
    except OSError:
        return False
    return bool(inside) and all(map(is_run, inside))


def _enter(folder: str, found: Walk, seen: set[str]) -> None:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as entries:
            inside = sorted((e for e in entries if wanted(e.name)), key=lambda e: e.name)
    except OSError as error:
        found.skipped[folder] = f"the folder cannot be read: {error.strerror}"
        return
    for entry in inside:
        if not _is_folder(entry):
            _take(entry, found)
    for entry in inside:
        if _is_folder(entry) and not is_run(entry.path):
            _enter(entry.path, found, seen)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _take(entry: os.DirEntry[str], found: Walk) -> None:
    link_to_nothing = entry.is_symlink() and not os.path.exists(entry.path)
    if not link_to_nothing and not entry.is_file():  # reading a pipe would wait
        found.skipped[entry.path] = "not a file"
    elif os.path.splitext(entry.name)[1].lower() in SUFFIXES or is_image(entry.path):
        found.files.append(entry.path)
    else:
        found.skipped[entry.path] = "not an image, by its name and by its content"
