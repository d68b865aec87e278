"""Where the images are that a folder, an archive or a table stands for."""

from __future__ import annotations

from pathlib import Path

from senet.data.archive import extracted
from senet.paths import is_archive, table_of


def images_folder(place: Path) -> Path:
    """Return the folder to which the files of images are relative.

    Args:
        place: a folder, which it is itself; a zip or tar file, which is extracted once; or a table,
            which lies in it.

    Raises:
        ValueError: as :func:`~senet.data.archive.extracted`.
    """
    table = table_of(place)
    if table is not None:
        return table[0].parent
    return extracted(place) if is_archive(place) and place.is_file() else place
