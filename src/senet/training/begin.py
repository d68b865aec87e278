"""The network that a training begins with: new, or with weights and the probe of their features."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from senet.counted import counted
from senet.data import Source
from senet.models import Network, create_model
from senet.models.weights.file import load_state, read_state, save_model
from senet.models.weights.find import find_weights
from senet.models.weights.record import Record
from senet.runs.features import Features
from senet.runs.folder import RunFolder
from senet.training.balance import class_weights
from senet.training.config import TrainConfig
from senet.training.evaluate import metrics
from senet.training.features import split_features
from senet.training.head import Head, with_rows_by_name
from senet.training.linear import Linear, fit_linear

Tell = Callable[[str], None]


def new_network(config: TrainConfig, source: Source) -> Network:
    """Return the network of a configuration, with initial weights."""
    torch.manual_seed(config.seed)
    return create_model(
        config.model,
        num_classes=len(source.classes),
        in_channels=source.preprocessing.channels,
        **config.options,
    )


def load_weights(model: Network, config: TrainConfig, source: Source) -> Head:
    """Load the weights of a configuration, and return where the rows of the classifier are from.

    Raises:
        ValueError: if they do not fit, or are damaged.
    """
    assert config.weights is not None
    weights = find_weights(config.weights, config.model)
    state, head = with_rows_by_name(model, read_state(weights.file), weights, source.classes)
    load_state(model, state, weights.name)
    return head


def set_probe(
    model: Network, head: Head, config: TrainConfig, source: Source, folder: RunFolder, tell: Tell
) -> None:
    """Give a network the linear classifier that suits its features best, and keep this network.

    The body stays as it is: an image goes through it once, in evaluation. A classifier that the
    weights have for all of the classes stays if it is at least as good on validation.

    Args:
        model: the network with its weights; its classifier is changed.
        head: where the rows of its classifier are from.
        config: configuration of the training.
        source: the images.
        folder: keeps the features, and the network as ``probe.safetensors``.
        tell: prints a line.
    """
    begun = time.monotonic()
    train = split_features(
        model, source.train, source, config, folder.features_file("train"), config.views, tell
    )
    val = None
    if source.val is not None:
        place = folder.features_file("val")
        val = split_features(model, source.val, source, config, place, tell=tell)
    seconds, begun = time.monotonic() - begun, time.monotonic()
    count = len(train.labels) + (len(val.labels) if val else 0)
    tell(f"probe: features of {counted(count, 'image')} in {seconds:.1f} s")
    classes = len(source.classes)
    weights = class_weights(source.train.labels, classes) if config.balance else None
    linear = fit_linear(_tensors(train), val and _tensors(val), classes, weights)
    figures = _figures(linear, val, source.classes)
    what = f"a classifier fitted to them in {time.monotonic() - begun:.1f} s"
    what += f" with weight decay {linear.decay:.2g}"
    fc = model.get_classifier()
    assert isinstance(fc, nn.Linear)
    if val and not head.new:
        own = Linear(fc.weight.detach(), fc.bias.detach(), 0.0)
        theirs = _figures(own, val, source.classes)
        if theirs["val_accuracy"] >= figures["val_accuracy"]:
            linear, figures, what = own, theirs, "the classifier of the weights is kept: it"
    right = f" has {figures['val_accuracy']:.1%} of the validation images right" if val else ""
    tell(f"probe: {what}{right}")
    with torch.no_grad():
        fc.weight.copy_(linear.weight)
        fc.bias.copy_(linear.bias)
    record = Record(model.architecture, source.preprocessing, source.classes, figures)
    save_model(folder.probe_file, model, record)


def _tensors(found: Features) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(found.features), torch.from_numpy(found.labels)


def _figures(linear: Linear, val: Features | None, classes: tuple[str, ...]) -> dict[str, float]:
    """Return the record's figures: nothing without validation images."""
    if val is None:
        return {}
    found = metrics(val.labels, linear(_tensors(val)[0]).numpy(), classes)
    return {"val_accuracy": found["accuracy"], "val_loss": found["loss"]}
