"""Files of weights: a state dict, and in ours a record of everything needed to use it.

A model file is safetensors (no code can hide in it) whose metadata carries the
:class:`~senet.models.weights.record.Record`. Other projects' state dicts are read with
``weights_only=True``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from senet.files import whole
from senet.models.network import Network
from senet.models.weights.caffe.convert import from_caffe
from senet.models.weights.checkpoint import read_checkpoint, state_in
from senet.models.weights.record import Record
from senet.models.weights.suggestions import suggest
from senet.models.weights.timm import named_timm

_KEY = "senet"
_HEADS = ("fc.weight", "classifier.weight", "head.fc.weight", "classif.weight")


def save_model(path: str | os.PathLike[str], model: nn.Module, record: Record) -> None:
    """Write a model file; an existing one is replaced only when the new one is whole.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from senet.models import create_model, entry
        >>> model = create_model("se_resnet8_cifar", num_classes=2)
        >>> record = Record(model.architecture, entry("se_resnet8_cifar").preprocessing, ("a", "b"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(f"{folder}/model.safetensors", model, record)
        ...     again, read = load_model(f"{folder}/model.safetensors")
        >>> read == record, torch.equal(again.fc.weight, model.fc.weight)
        (True, True)
    """
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with whole(path) as aside:
        safetensors.torch.save_file(state, aside, {_KEY: record.to_json()})


def load_model(path: str | os.PathLike[str]) -> tuple[Network, Record]:
    """Return the network of a model file, in evaluation mode, and its record.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a model file of this project, or is damaged.
    """
    record = read_record(path)
    model = record.architecture.build()
    load_state(model, read_state(path), path)
    model.preprocessing, model.classes = record.preprocessing, record.classes
    model.eval()
    return model, record


def read_record(path: str | os.PathLike[str]) -> Record:
    """Return the record of a model file, without its weights; raise as :func:`load_model` does."""
    _require_file(path)
    if not str(path).endswith(".safetensors"):
        raise ValueError(f"{path} is not a model file: these end with .safetensors")
    record = find_record(path)
    if record is None:
        raise ValueError(
            f"{path} holds weights but does not say of which network they are: `senet train` did "
            f"not write it. Name the network, as in `senet train --model NAME --weights {path}`."
        )
    return record


def find_record(path: str | os.PathLike[str]) -> Record | None:
    """Return the record of a file of weights, or ``None``: most other projects' files have none.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    _require_file(path)
    if str(path).endswith(".caffemodel"):
        architecture, _, preprocessing = from_caffe(path)
        return Record(architecture, preprocessing)
    if not str(path).endswith(".safetensors"):
        return None
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata, names = file.metadata() or {}, set(file.keys())
            classes = [file.get_slice(k).get_shape()[0] for k in _HEADS if k in names]
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a model file, or is damaged: {error}") from error
    if _KEY in metadata:
        return Record.from_json(metadata[_KEY], path)
    # Files that were converted for timm say of which of its networks they are.
    network = metadata.get("arch") or metadata.get("architecture")
    return named_timm(network, classes[0]) if network and classes else None


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the state dict of a ``.safetensors``, ``torch.save`` or ``.caffemodel`` file.

    In a checkpoint it may be under another key, and its names may have prefixes that what wrapped
    the network gave them: see :func:`~senet.models.weights.checkpoint.state_in`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no state dict, is damaged, or is a pickle that would run code.
    """
    _require_file(path)
    if str(path).endswith(".safetensors"):
        try:
            return state_in(safetensors.torch.load_file(path), path)
        except (safetensors.SafetensorError, OSError) as error:
            raise ValueError(f"{path} is not a safetensors file, or is damaged: {error}") from error
    if str(path).endswith(".caffemodel"):
        return from_caffe(path)[1]
    try:
        found = read_checkpoint(path)
    except Exception as error:  # unpickling rubbish can raise anything
        raise ValueError(f"{path} was refused: {_why(error)}") from error
    return state_in(found, path)


def _why(error: Exception) -> str:
    """Return why PyTorch did not open a file, without its advice to let the file run code."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if more := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"beside tensors it holds {more[1]}, which could run code when opened. If you trust "
            "its source, load it with torch.load yourself and save its state_dict alone"
        )
    return (
        "it is damaged, not what torch.save writes by default, or holds more than tensors. Save a "
        "state_dict alone, with torch.save"
    )


def load_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    source: str | os.PathLike[str] = "the state dict",
    *,
    new_head: bool = False,
) -> bool:
    """Load all of ``state`` into ``model``, or raise an error that names what does not fit.

    Args:
        model: the network, changed in place, or left as it was on an error.
        state: names and tensors; the names may be another project's, see
            :meth:`Network.translate <senet.models.network.Network.translate>`.
        source: where the state dict came from, for the message.
        new_head: keep the classifier of ``model`` where the file has none or one of another
            shape, for fine-tuning on other classes.

    Returns:
        Whether the classifier of ``model`` was kept.

    Raises:
        ValueError: if something does not fit; the message names missing keys, unknown keys, keys
            of another shape, and a network that the state dict would fit.

    Example:
        >>> from senet import create_model
        >>> ten, two = (create_model("resnet8_cifar", num_classes=n) for n in (10, 2))
        >>> load_state(two, ten.state_dict(), new_head=True)
        True
    """
    given = state
    if isinstance(model, Network):
        state = model.translate(state)
    own = model.state_dict()
    head = [k for k in own if k.startswith("fc.")] if new_head else []
    kept = any(k not in state or state[k].shape != own[k].shape for k in head)
    if kept:
        state = {**state, **{k: own[k] for k in head}}
    # Files from before PyTorch 0.4.1 do not count batches; nothing of ours depends on the count.
    counts = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
    state = {**counts, **state}
    missing = [k for k in own if k not in state]
    unknown = [k for k in state if k not in own]
    shapes = [k for k in own if k in state and state[k].shape != own[k].shape]
    if missing or unknown or shapes:
        name = model.architecture.name if isinstance(model, Network) else type(model).__name__
        lines = [f"{source} does not fit {name}:"]
        lines += _some("missing", missing) + _some("not of this network", unknown)
        lines += _some(
            "of another shape",
            [f"{k} {tuple(state[k].shape)}, wanted {tuple(own[k].shape)}" for k in shapes],
        )
        if not all(k.startswith("fc.") for k in (*missing, *unknown, *shapes)):
            lines += suggest(given)
        raise ValueError("\n  ".join(lines))
    model.load_state_dict(dict(state))
    return kept


def _some(what: str, names: list[str], most: int = 6) -> list[str]:
    if not names:
        return []
    rest = f", and {len(names) - most} more" if len(names) > most else ""
    return [f"{len(names)} {what}: " + ", ".join(names[:most]) + rest]


def _require_file(path: str | os.PathLike[str]) -> None:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no model file {path}")
