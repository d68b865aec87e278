"""Networks that start from trained weights."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from senet.models.architecture import Architecture
from senet.models.network import Network
from senet.models.registry import entry
from senet.models.weights.file import load_state, read_state
from senet.models.weights.find import Weights, find_weights


def from_pretrained(word: str | os.PathLike[str]) -> Network:
    """Return the network that the weights belong to, with these weights, in evaluation mode.

    Args:
        word: as for :func:`~senet.models.find_weights`; the weights must say which network they
            belong to.

    Returns:
        The network, with its ``architecture``, ``preprocessing`` and, where they are known,
        ``classes``.

    Raises:
        ValueError: as for :func:`~senet.models.create_model`, and if the weights do not say which
            network they belong to.

    Example:
        >>> import tempfile
        >>> from senet.models import create_model, save_pretrained
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_pretrained(create_model("se_resnet8_cifar", num_classes=3), folder)
        ...     from_pretrained(folder).architecture.num_classes
        3
    """
    weights = find_weights(word)
    if weights.record is None:
        raise ValueError(
            f"{word} holds weights but does not say of which network they are: name it, as in "
            f"create_model(NAME, weights={os.fspath(word)!r})"
        )
    return _create(weights.record.architecture.name, weights).eval()


def create_pretrained(
    name: str,
    word: str | os.PathLike[str],
    num_classes: int | None,
    in_channels: int | None,
    options: Mapping[str, Any],
    with_head: bool = True,
) -> Network:
    """Do what :func:`~senet.models.create_model` does when it is given weights.

    Args:
        name: the name of the network.
        word: the weights, as for :func:`~senet.models.find_weights`.
        num_classes: as for :func:`~senet.models.create_model`.
        in_channels: likewise.
        options: options of the network, likewise.
        with_head: whether the classifier will be used, so that a new one is worth a warning.
    """
    entry(name)  # an unknown name is an error before anything is downloaded
    return _create(name, find_weights(word, name), num_classes, in_channels, options, with_head)


def needed_options(
    weights: Weights, name: str, state: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """Return the options that the network ``name`` needs for these weights, as far as is known.

    Args:
        weights: the weights; if their file has no record, the names of the tensors tell.
        name: the name of the network.
        state: the state dict of these weights, if it has been read already.
    """
    known = weights.record
    if known is None:
        return entry(name).family.form_of(read_state(weights.file) if state is None else state)
    return dict(known.architecture.options) if known.architecture.name == name else {}


def _create(
    name: str,
    weights: Weights,
    num_classes: int | None = None,
    in_channels: int | None = None,
    options: Mapping[str, Any] | None = None,
    with_head: bool = True,
) -> Network:
    known, state = weights.record, read_state(weights.file)
    head = entry(name).family.translate(state).get("fc.weight")
    classes = None if head is None else len(head)
    if num_classes is None:
        num_classes = classes
    if in_channels is None and known:
        in_channels = known.architecture.in_channels
    options = {**needed_options(weights, name, state), **(options or {})}
    model = Architecture.of(name, num_classes, in_channels, options).build()
    if known:
        model.preprocessing = known.preprocessing.of_channels(model.architecture.in_channels)
    if not load_state(model, state, weights.name, new_head=True):
        model.classes = known.classes if known else ()
    elif with_head:
        theirs = f"has {classes} classes" if classes else "has no classifier"
        _warn(
            f"{weights.name} {theirs}, and {model.architecture.num_classes} are wanted: the "
            "classifier is new, and has to be trained"
        )
    if known and known.architecture.name != name:
        _warn(
            f"{weights.name} is for {known.architecture.name}. Its tensors fit {name}, but they do "
            "not show whether the two compute the same"
        )
    return model


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=5)  # where create_model was called
