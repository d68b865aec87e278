"""Networks that begin with weights instead of random numbers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from senet.models.network import Network
from senet.models.registry import create_model, entry
from senet.models.resolve import Weights, find_weights
from senet.models.weights import load_state, read_state


def from_pretrained(word: str | os.PathLike[str]) -> Network:
    """The network that weights are of, with these, in evaluation mode.

    Args:
        word: as for :func:`~senet.models.find_weights`; what it stands for must say of which
            network it is.

    Returns:
        The network, with its ``architecture``, ``preprocessing`` and, where they are known,
        ``classes``.

    Raises:
        ValueError: as :func:`~senet.models.create_model`, and if the weights do not say of which
            network they are.

    Example:
        >>> import tempfile
        >>> from senet.models.hub import save_pretrained
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_pretrained(create_model("se_resnet8_cifar", num_classes=3), folder)
        ...     from_pretrained(folder).architecture.num_classes
        3
    """
    weights = find_weights(word)
    if weights.record is None:
        raise ValueError(
            f"{word} holds weights but does not say of which network: name it, as in "
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
    """What :func:`~senet.models.create_model` does where it is given weights.

    Args:
        name: of the network.
        word: the weights, as for :func:`~senet.models.find_weights`.
        num_classes: as for :func:`~senet.models.create_model`.
        in_channels: likewise.
        options: of the network, likewise.
        with_head: whether its classifier will be used, so that a new one is worth a warning.
    """
    entry(name)  # an unknown name is an error before anything is downloaded
    return _create(name, find_weights(word, name), num_classes, in_channels, options, with_head)


def needed_options(
    weights: Weights, name: str, state: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """The options that the network ``name`` must have for these weights, as far as is known.

    Args:
        weights: a state dict that says nothing of itself is known by the names of its tensors.
        name: of the network.
        state: of these weights, where it has been read.
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
    model = create_model(
        name,
        num_classes=classes if num_classes is None else num_classes,
        in_channels=known.architecture.in_channels
        if known and in_channels is None
        else in_channels,
        **{**needed_options(weights, name, state), **(options or {})},
    )
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
            f"{weights.name} is of {known.architecture.name}. Its tensors fit {name}, but whether "
            "the two compute the same cannot be seen"
        )
    return model


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=5)  # where create_model was called
