"""Checks that need no PyTorch, and a way to load it quickly."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from senet import known
from senet.paths import expanded, is_archive, is_place, no_images, table_of


def require_training(
    record: str, data: str | None, recipe: str | None, out: Path | None, resume: Path | None
) -> None:
    """Refuse at once what a training would refuse after seconds.

    Args:
        record: the file that the folder to resume must have.
        data: the data, as given on the command line.
        recipe: name of the recipe.
        out: folder to write.
        resume: folder of the run to resume.
    """
    from senet.training import recipes

    _not_both(resume, out, recipe)
    if recipe is not None:
        recipes.recipe(recipe)
    if data is not None:
        require_data(data)
    if out is None and resume is None:
        return
    from senet.runs.folder import COMPARISON, RunFolder, read_json, resume_comparison

    if out is not None:
        RunFolder(out).require_unused()
    if resume is not None:
        run = RunFolder(resume)
        commands = {
            run.config_file: run.resume_command,
            resume / COMPARISON: resume_comparison(resume),
        }
        begun = [command for file, command in commands.items() if file.is_file()]
        if begun and not (resume / record).is_file():
            raise ValueError(f"{resume} was begun by another command: `{begun[0]}` resumes it")
        read_json(resume / record)


def require_data(data: str) -> None:
    """Refuse a path of images that does not exist; a name without a folder may be a data set."""
    table = table_of(expanded(data))
    there = (table[0] if table else expanded(data)).exists()
    if not there and (is_place(data) or table or is_archive(data)):
        raise ValueError(no_images(data))


def require_whole_torchvision() -> None:
    """Refuse to train with a torchvision that cannot be imported: Lightning would fail with it."""
    from senet.doctor import torchvision_trouble

    if trouble := torchvision_trouble():
        raise ImportError(f"torchvision is {trouble}")


def _not_both(resume: Path | None, out: Path | None, recipe: str | None) -> None:
    for given, option in ((out, "--out"), (recipe, "--recipe")):
        if resume and given:
            raise typer.BadParameter(f"a resumed run has its own: leave {option} out")


def require_file(name: str, what: str) -> None:
    """Refuse a path that does not exist; a name without a folder may not be a path."""
    if (is_place(name) or "/" in name) and not expanded(name).exists() and "://" not in name:
        raise FileNotFoundError(f"there is no {what} {name!r}")


def require_model(name: str) -> Path:
    """Return the model file that a name stands for, or raise an error if there is none."""
    from senet.runs.find import find_model

    return find_model(name)


def require_trained(name: str, network: str | None) -> str:
    """Return the model file or the weights that a name stands for, or refuse what is neither."""
    from senet.runs.find import find_trained

    if network is not None:
        known.network(network)
    return find_trained(name, network)


def require_weights(name: str, network: str | None) -> None:
    """Refuse a path of weights that does not exist, before the hub is asked for it."""
    if is_place(name):
        require_file(name, "file or folder of weights")
    elif "/" in name:
        require_trained(name, network)


def require_preprocessing(text: str | None) -> None:
    """Refuse a preprocessing that cannot be read."""
    from senet.preprocessing import require_asked

    if text is not None:
        require_asked(text)


def require_networks(names: list[str]) -> None:
    """Refuse names of networks that do not exist."""
    for name in names:
        known.network(name)


@contextmanager
def loading() -> Iterator[None]:
    """Import large libraries without collecting garbage among what they define.

    None of it is garbage before the process ends, and looking for it, while PyTorch is imported and
    again at the end, takes a third of the time of ``senet doctor``.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if before:
            gc.enable()
