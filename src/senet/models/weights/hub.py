"""Repositories of the Hugging Face hub: weights read from them, and networks written to them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from senet.models.network import Network
from senet.models.weights.card import card
from senet.models.weights.file import find_record, save_model
from senet.models.weights.record import Record
from senet.models.weights.timm import read_timm
from senet.reach import offline_if_unreachable

# The files in which a repository, or the folder of one, may keep its weights, the best first.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
CONFIG = "config.json"

_NAME = re.compile(r"(?:hf-hub:|hf_hub:)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
T = TypeVar("T")


def is_repository(word: str) -> bool:
    """Return whether ``word`` can name a repository: ``owner/name``, with or without a revision.

    Example:
        >>> is_repository("timm/seresnet50.a1_in1k"), is_repository("hf-hub:me/photos@v2")
        (True, True)
        >>> is_repository("seresnet50.pth"), is_repository("runs/photos/model.safetensors")
        (False, False)
    """
    return _NAME.fullmatch(word) is not None


def fetch(word: str) -> tuple[Path, Record | None]:
    """Return the file of weights of a repository, from the hub or its cache, and its record.

    Args:
        word: ``owner/name`` or ``owner/name@revision``, with or without ``hf-hub:`` before it.

    Raises:
        ValueError: if there is no such repository, it holds no weights, or the hub is out of reach
            and the weights are not in its cache.
    """
    match = _NAME.fullmatch(word)
    assert match, word
    repository, revision = match[1], match[2]
    with offline_if_unreachable():
        for name in WEIGHTS:
            if file := _download(repository, name, revision):
                own = find_record(file)
                return file, own or _configured(_download(repository, CONFIG, revision))
    raise ValueError(
        f"the hub's repository {repository!r} holds none of {', '.join(WEIGHTS)}: it has no "
        "weights of a network in PyTorch, or keeps them under another name. Download its file, "
        "and name that"
    )


def known_of(file: Path) -> Record | None:
    """Return the record of a file of weights, from the file or the configuration beside it."""
    config = file.with_name(CONFIG)
    beside = file.name in WEIGHTS and config.is_file()
    return find_record(file) or _configured(config if beside else None)


def save_pretrained(
    model: Network, folder: str | os.PathLike[str], metrics: Mapping[str, float] | None = None
) -> None:
    """Write a network as a repository of the hub holds it: weights, configuration, model card.

    :func:`~senet.models.from_pretrained` reads the folder again, and so does everything that reads
    the model files of ``senet train``.

    Args:
        model: written with its architecture, its preprocessing, and its classes if it has any.
        folder: made if it does not exist.
        metrics: measured figures, such as ``{"test_accuracy": 0.91}``, for the card.
    """
    record = Record.of(model, metrics)
    _write(Path(folder), model, record, card(model, record))


def push_to_hub(
    model: Network,
    repository: str,
    metrics: Mapping[str, float] | None = None,
    *,
    private: bool = False,
    message: str = "Upload a network of senet",
) -> str:
    """Write a network to a repository of the Hugging Face hub, which is made if it does not exist.

    The permission to write comes from ``hf auth login``, or from the token in ``HF_TOKEN``.

    Args:
        model: as for :func:`save_pretrained`.
        repository: ``owner/name``.
        metrics: as for :func:`save_pretrained`.
        private: whether a repository that is made is hidden from others.
        message: message of the commit.

    Returns:
        The address of the commit.

    Raises:
        ValueError: if the hub is out of reach or refuses.
    """
    from huggingface_hub import HfApi

    api, record = HfApi(library_name="senet"), Record.of(model, metrics)
    with TemporaryDirectory() as folder:
        _write(Path(folder), model, record, card(model, record, repository))

        def upload() -> str:
            made = api.create_repo(repository, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=made.repo_id, folder_path=folder, commit_message=message
            )
            return commit.commit_url

        return _asked(upload, repository)


def _write(folder: Path, model: Network, record: Record, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / WEIGHTS[0], model, record)
    config = {"library_name": "senet", **json.loads(record.to_json())}
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(text, encoding="utf-8")


def _download(repository: str, name: str, revision: str | None) -> Path | None:
    """Return a file of a repository, or ``None`` if the repository has no such file."""
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def download() -> Path | None:
        try:
            file = hf_hub_download(repository, name, revision=revision, library_name="senet")
        except LocalEntryNotFoundError:  # the hub is out of reach
            if try_to_load_from_cache(repository, name, revision=revision) is _CACHED_NO_EXIST:
                return None
            raise
        except EntryNotFoundError:
            return None
        return Path(file)

    return _asked(download, repository)


def _asked(what: Callable[[], T], repository: str) -> T:
    """Return the answer of the hub, and raise its refusals in our words."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return what()
    except RevisionNotFoundError as error:
        raise ValueError(f"the hub's repository {repository!r} has no such revision") from error
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"the Hugging Face hub has no repository {repository!r} for you, and there is no such "
            "file or folder here. If it is private or gated, first run: hf auth login"
        ) from error
    except HFValidationError as error:
        raise ValueError(f"{repository!r} is not the name of a repository: {error}") from error
    except HfHubHTTPError as error:
        raise ValueError(
            f"the Hugging Face hub refuses {repository!r}: {_first_line(error)} If it wants to "
            "know who you are, run: hf auth login"
        ) from error
    except Exception as error:  # offline; of which kind depends on the HTTP library beneath
        if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
            raise  # an error of this machine's disk
        raise ValueError(
            f"the Hugging Face hub cannot be reached ({_first_line(error)}), and what is asked of "
            f"{repository!r} is not in its cache, nor a file or folder here. Get online, or name a "
            "file"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _configured(file: Path | None) -> Record | None:
    if file is None:
        return None
    try:
        config: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    return read_timm(config) if isinstance(config, dict) else None
