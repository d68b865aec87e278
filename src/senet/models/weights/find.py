"""The search for weights by a name, a file, a folder or an address, as ``weights=`` takes them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from senet import known
from senet.models.weights import hub
from senet.models.weights.download import download
from senet.models.weights.published import find_published, list_weights, published_file
from senet.models.weights.record import Record
from senet.near import near
from senet.paths import is_url

# The endings of files of weights. Anything else may be a name.
SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".pkl", ".bin", ".ckpt", ".tar", ".caffemodel")


@dataclass(frozen=True)
class Weights:
    """Weights that were found.

    Attributes:
        name: the name by which they were asked for.
        file: their file on this machine.
        record: what is known about them, or ``None`` for a plain state dict. The architecture may
            be another project's, which the registry does not know.
    """

    name: str
    file: Path
    record: Record | None


def find_weights(word: str | os.PathLike[str], network: str | None = None) -> Weights:
    """Return the weights that ``word`` stands for, downloaded if necessary.

    ===============================  =============================================================
    ``se_resnet50.timm_a1_in1k``     a published set of :func:`~senet.models.list_weights`; also
                                     ``timm_a1_in1k``, where ``network`` is given
    a file                           a model file of ``senet train``, another project's state dict,
                                     or a Caffe file of the paper's authors (``.caffemodel``)
    a folder                         a run of ``senet train``, or a copy of a repository
    ``https://…/name-0a1b2c3d.pth``  a file on the web; if its name carries the beginning of its
                                     SHA-256, that is checked
    ``owner/name``                   a repository of the Hugging Face hub, timm's or one written by
                                     :func:`~senet.models.push_to_hub`; also ``owner/name@revision``
                                     and ``hf-hub:owner/name``
    ===============================  =============================================================

    Files from the web are kept in ``$SENET_HOME``, by default ``~/.cache/senet``, those from the
    hub in the hub's own cache.

    Args:
        word: one of these.
        network: name of the network that the weights are for.

    Raises:
        FileNotFoundError: if it looks like a file, and there is none.
        ValueError: if it is none of these, cannot be reached, or is damaged.

    Example:
        ::

            weights = find_weights("timm/seresnet50.a1_in1k")
            print(weights.record.preprocessing)
    """
    name = os.fspath(word)
    path = Path(name).expanduser()
    if found := find_published(name, network):
        file, own = _fetch(found.source, found.sha256)
        # The record in a file of this project knows more than the table: the names of its classes.
        return Weights(found.name, file, own if known.shipped(found.source) else found.record)
    if path.is_file():
        return Weights(name, path, _known_of(path))
    if path.is_dir():
        file = _inside(path)
        return Weights(name, file, _known_of(file))
    if path.suffix in SUFFIXES and not is_url(name):
        raise FileNotFoundError(f"there is no file {name}")
    if is_url(name) or hub.is_repository(name):
        return Weights(name, *_fetch(name))
    raise ValueError(_about_unknown(name, network))


def _fetch(source: str, sha256: str | None = None) -> tuple[Path, Record | None]:
    if file := known.shipped(source):
        return file, hub.known_of(file)
    if is_url(source):
        file = download(source, sha256)
        return file, _known_of(file)
    return hub.fetch(source)


def _known_of(file: Path) -> Record | None:
    known = published_file(file.name)
    return known.record if known else hub.known_of(file)


def _inside(folder: Path) -> Path:
    for name in hub.WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"the folder {folder} holds none of {', '.join(hub.WEIGHTS)}")


def _about_unknown(name: str, network: str | None) -> str:
    own = [w.split(".", 1)[1] for w in list_weights(f"{network}.*")] if network else []
    sets = f"published for {network}: {', '.join(own)}" if own else "a name of list_weights()"
    return (
        f"no weights {name!r}.{near(name, [*own, *list_weights()])} It can be a file, a URL, a "
        f"repository of the Hugging Face hub (owner/name), or a published set ({sets})"
    )
