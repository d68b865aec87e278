"""The trained network that a user names: a run, a file, or weights that others have published."""

from __future__ import annotations

import os
import re
from pathlib import Path

from senet import known
from senet.near import near
from senet.paths import expanded, is_place, near_beside
from senet.runs.folder import MODEL, RunFolder

_REPOSITORY = re.compile(r"(hf[-_]hub:)?([\w-][\w.-]*)/[\w.-]+(@[\w./-]+)?")


def find_trained(name: str | os.PathLike[str], network: str | None = None) -> str:
    """Return the model file that ``name`` stands for, or ``name`` if it names weights elsewhere.

    Nothing is downloaded, and PyTorch is not needed.

    Args:
        name: a run folder, a file, a published set, a URL, a repository of the Hugging Face hub, or
            ``timm:NAME``.
        network: the network, for a set of its published weights.

    Raises:
        FileNotFoundError: if it can be none of these.

    Example:
        >>> find_trained("se_resnet50.timm_a1_in1k"), find_trained("timm/seresnet50.a1_in1k")
        ('se_resnet50.timm_a1_in1k', 'timm/seresnet50.a1_in1k')
    """
    word = os.fspath(name)
    if not expanded(word).exists() and _elsewhere(word, network):
        return word
    return str(find_model(word))


def _elsewhere(word: str, network: str | None) -> bool:
    if "://" in word or word.startswith("timm:"):
        return True
    if word in known.weights() or f"{network}.{word}" in known.weights():
        return True
    match = _REPOSITORY.fullmatch(word)
    if match is None or is_place(word):
        return False
    # A folder that is here, or the one that runs go to by themselves, is not an owner of the hub.
    return match[2] != "runs" and not Path(match[2]).exists()


def find_model(name: str | os.PathLike[str]) -> Path:
    """Return the model file that ``name`` stands for: itself, or that of a run folder.

    Raises:
        FileNotFoundError: if there is none; the message says what is there instead.
    """
    path = expanded(name)
    if path.is_file():
        return path
    if path.is_dir():
        return _in_run(path)
    if str(name) in known.networks():
        raise FileNotFoundError(
            f"{name} is a network without weights: name what `senet train` wrote, the folder of a "
            f"run or its {MODEL}"
        )
    text = f"there is no run folder or model file {str(name)!r}"
    if guess := near(str(name), known.weights()):
        text += f", nor such weights.{guess}"
    elif guess := near_beside(path):
        text += f".{guess}"
    raise FileNotFoundError(text)


def _in_run(folder: Path) -> Path:
    run = RunFolder(folder)
    if run.model_file.is_file():
        return run.model_file
    inside = sorted(str(found.parent) for found in folder.glob(f"*/{MODEL}"))
    if inside:
        raise FileNotFoundError(f"{folder} holds several models, name one: {', '.join(inside)}")
    if run.begun:
        raise FileNotFoundError(
            f"the run in {folder} has not finished: resume it with `{run.resume_command}`"
        )
    raise FileNotFoundError(f"{folder} holds no {MODEL}: it is not a run folder")
