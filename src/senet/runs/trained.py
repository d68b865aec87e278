"""A trained network, whoever has trained it, with everything needed to use it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from senet.foreign import timm_has_weights, timm_that_has
from senet.models import entry
from senet.models.architecture import Architecture
from senet.models.weights.file import load_model, read_state
from senet.models.weights.find import Weights, find_weights
from senet.models.weights.imagenet import class_names
from senet.models.weights.pretrained import network_of
from senet.models.weights.record import Record
from senet.models.weights.timm import read_timm
from senet.near import near
from senet.reach import offline_if_unreachable
from senet.runs.find import find_trained
from senet.runs.normalisation import asked_preprocessing, say_guessed


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        network: maps ``[B, C, H, W]`` to logits ``[B, K]``; in evaluation mode.
        record: preprocessing, and the names of the K classes. Weights that do not name 1000 classes
            are taken for ImageNet's.
        file: the file of its weights, in a run folder or elsewhere; ``None`` if timm keeps it.
    """

    network: nn.Module
    record: Record
    file: Path | None


def open_body(
    word: str | os.PathLike[str], network: str | None = None, preprocessing: str | None = None
) -> Trained:
    """Load the network that ``word`` stands for, without its classifier: it returns features.

    Arguments and errors are those of :func:`open_trained`; a classifier is not needed.
    """
    found = _open(word, network, preprocessing, with_classifier=False)
    body: Any = found.network
    body.reset_classifier(0)
    return replace(found, record=replace(found.record, classes=()))


def open_trained(
    word: str | os.PathLike[str], network: str | None = None, preprocessing: str | None = None
) -> Trained:
    """Load the network that ``word`` stands for.

    Args:
        word: a run folder or a model file; other weights, as
            :func:`~senet.models.find_weights` takes them; or ``timm:NAME`` for a network of timm
            with its own weights.
        network: name of the network, for weights that do not name it.
        preprocessing: how its images are taken, for weights that do not say it: see
            :func:`~senet.runs.normalisation.asked_preprocessing`. By default it is guessed, with a
            warning.

    Raises:
        FileNotFoundError: if there is no such thing.
        ValueError: if the weights cannot be reached, are damaged, do not fit, do not name their
            network, or have no classifier; or if they record another preprocessing.
        ImportError: if timm is asked for and not installed.
    """
    return _open(word, network, preprocessing, with_classifier=True)


def _open(
    word: str | os.PathLike[str],
    network: str | None,
    preprocessing: str | None,
    *,
    with_classifier: bool,
) -> Trained:
    found = find_trained(word, network)
    if found.startswith("timm:"):
        made = _of_timm(found.removeprefix("timm:"))
        _require_same(preprocessing, made.record, found)
        return made
    weights = find_weights(found, network)
    if weights.record is not None:
        _require_same(preprocessing, weights.record, weights.name)
    if _is_ours(weights, network):
        return Trained(*load_model(weights.file), weights.file)
    state = read_state(weights.file)
    name = network or (weights.record.architecture.name if weights.record else None)
    if name is None:
        raise ValueError(
            f"{weights.name} holds weights but does not say of which network they are: add --model "
            "NAME, one of `senet models`"
        )
    has_one = "fc.weight" in entry(name).family.translate(state)
    if with_classifier and not has_one:
        raise ValueError(
            f"{weights.name} has no classifier, so it cannot tell classes apart: train one, as in "
            f"`senet train --model {name} --weights {weights.name} --data DATA`"
        )
    model = network_of(weights, name, state, with_head=has_one).eval()
    if weights.record is None and preprocessing is not None:
        model.preprocessing = asked_preprocessing(preprocessing, model.preprocessing)
    elif weights.record is None:
        say_guessed(weights.name, model.preprocessing)
    return Trained(model, _named(Record.of(model), model.classes), weights.file)


def _require_same(preprocessing: str | None, record: Record, name: str) -> None:
    """Refuse a preprocessing that is not the recorded one."""
    if preprocessing is not None:
        asked_preprocessing(preprocessing, record.preprocessing, record.preprocessing, name)


def _is_ours(weights: Weights, network: str | None) -> bool:
    """Return whether this project wrote the file, with all of its classes named."""
    record = weights.record
    return (
        record is not None
        and bool(record.classes)
        and network in (None, record.architecture.name)
        and weights.file.suffix == ".safetensors"
    )


def _named(record: Record, classes: tuple[str, ...]) -> Record:
    """Return a record with the names of classes: ImageNet's for 1000 that have none."""
    if not classes and len(record.classes) == len(class_names()):
        return replace(record, classes=class_names())
    return record


def _of_timm(name: str) -> Trained:
    timm = timm_that_has(name)
    if not timm_has_weights(name):
        known = timm.list_models(pretrained=True)
        raise ValueError(f"timm has no trained weights of {name}.{near(name, known)}")
    try:
        with offline_if_unreachable():
            model = timm.create_model(name, pretrained=True).eval()
    except Exception as error:  # offline, no such weights, ...: of many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"timm cannot load its weights of {name} ({reason}). Get online, or give a file of them "
            "instead of the name"
        ) from error
    found = read_timm({"architecture": name, "pretrained_cfg": model.pretrained_cfg})
    if found is None:
        raise ValueError(f"timm does not say how {name} takes its images")
    classes = model.num_classes
    record = Record(
        Architecture(f"timm:{name}", classes, found.preprocessing.channels),
        found.preprocessing,
        found.classes if len(found.classes) == classes else tuple(map(str, range(classes))),
    )
    return Trained(model, _named(record, found.classes), None)
