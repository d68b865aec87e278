"""Networks that start from trained weights."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from senet.models.architecture import Architecture
from senet.models.form import Form
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
    name = weights.record.architecture.name
    return network_of(weights, name, read_state(weights.file)).eval()


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
    weights = find_weights(word, name)
    state = read_state(weights.file)
    return network_of(weights, name, state, num_classes, in_channels, options, with_head)


def needed_options(
    weights: Weights, name: str, state: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """Return the options that the network ``name`` needs for these weights, as far as is known.

    Args:
        weights: the weights; if their file has no record, the names and shapes of its tensors tell,
            and a warning says what.
        name: the name of the network.
        state: the state dict of these weights, if it has been read already.

    Raises:
        ValueError: if they belong to a network of a form that senet does not have.
    """
    known = weights.record
    if known is None:
        seen, _ = _seen(weights, name, read_state(weights.file) if state is None else state, {})
        _say(weights, seen)
        return seen
    return dict(known.architecture.options) if known.architecture.name == name else {}


def _seen(
    weights: Weights, name: str, state: Mapping[str, Tensor], given: Mapping[str, Any]
) -> tuple[dict[str, Any], Form]:
    """Return the options of a file without a record that differ from the usual, and its form."""
    try:
        form = entry(name).family.form_of(state)
    except ValueError as error:
        raise ValueError(f"{weights.name} cannot be loaded as {name}: {error}") from error
    usual = entry(name).options(entry(name).kind(given))
    unlike = {k: v for k, v in form.options.items() if k in usual and v != usual[k]}
    return unlike, form


def network_of(
    weights: Weights,
    name: str,
    state: Mapping[str, Tensor],
    num_classes: int | None = None,
    in_channels: int | None = None,
    options: Mapping[str, Any] | None = None,
    with_head: bool = True,
) -> Network:
    """Return the network ``name`` with weights that were found and read.

    Args:
        weights: where they were found.
        name: the name of the network.
        state: their state dict.
        num_classes: as for :func:`create_pretrained`, and so on.
        in_channels: likewise.
        options: likewise.
        with_head: likewise.
    """
    known, options = weights.record, dict(options or {})
    head = entry(name).family.translate(state).get("fc.weight")
    classes = None if head is None else len(head)
    if num_classes is None:
        num_classes = classes
    if known:
        inferred, channels = needed_options(weights, name, state), known.architecture.in_channels
    else:
        inferred, form = _seen(weights, name, state, options)
        channels = form.in_channels
        _require_clear(name, weights, form, options)
    in_channels = channels if in_channels is None else in_channels
    model = Architecture.of(name, num_classes, in_channels, {**inferred, **options}).build()
    if known:
        model.preprocessing = known.preprocessing.of_channels(model.architecture.in_channels)
    if model.architecture.in_channels == 1:
        state = _of_grey(model, state)
    if not load_state(model, state, weights.name, new_head=True):
        model.classes = known.classes if known else ()
    elif with_head:
        theirs = f"has {classes} classes" if classes else "has no classifier"
        _warn(
            f"{weights.name} {theirs}, and {model.architecture.num_classes} are wanted: the "
            "classifier is new, and has to be trained"
        )
    if known is None:
        _say(weights, {k: v for k, v in inferred.items() if k not in options})
    if known and known.architecture.name != name:
        _warn(
            f"{weights.name} is for {known.architecture.name}. Its tensors fit {name}, but they do "
            "not show whether the two compute the same"
        )
    return model


def _require_clear(name: str, weights: Weights, form: Form, options: Mapping[str, Any]) -> None:
    """Raise an error that asks for the options that the file leaves open, if they are not given."""
    unclear = {k: v for k, v in form.unclear.items() if k not in options}
    if not unclear:
        return
    choices = "; ".join(
        f"{option}={' or '.join(map(repr, values))}" for option, values in unclear.items()
    )
    first = _words({option: values[0] for option, values in unclear.items()})
    raise ValueError(
        f"{weights.name} fits networks that compute different things, and its names do not show "
        f"which of them it belongs to: {choices}. Ask its source, and say so, as in "
        f"create_model({name!r}, weights=…, {first})"
    )


def _of_grey(model: Network, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the state dict for images of one channel, if it is one for three.

    A grey image is a coloured one whose channels are equal: the weights of the first convolution
    are summed over the colours.
    """
    ours = model.translate(state)
    first = next(name for name, value in model.state_dict().items() if value.dim() > 1)
    weight = ours.get(first)
    if weight is None or weight.dim() < 2 or weight.shape[1] != 3:
        return state
    return {**ours, first: weight.sum(1, keepdim=True)}


def _say(weights: Weights, inferred: Mapping[str, Any]) -> None:
    if inferred:
        words = _words(inferred)
        _warn(f"{weights.name} does not say its options, but its names and shapes do: {words}", 6)


def _words(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{option}={value!r}" for option, value in options.items())


def _warn(message: str, above: int = 5) -> None:
    warnings.warn(message, stacklevel=above)  # where create_model was called
