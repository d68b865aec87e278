"""Networks by name, each with its plain twin."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from senet.models.preprocessing import Preprocessing
from senet.near import near
from senet.nn import SqueezeExcitation

SE_OPTIONS: dict[str, Any] = {
    "reduction": 16,
    "squeeze": "avg",
    "gate": "sigmoid",
    "se_bias": True,
    "gate_bias": 0.0,
}
"""The options that every SE network takes beside those of its plain twin; see
:class:`~senet.nn.SqueezeExcitation`."""


@dataclass(frozen=True)
class Architecture:
    """Everything that makes a network but its weights; a model remembers it as ``architecture``."""

    name: str
    num_classes: int
    in_channels: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Network:
        """The network, with new weights."""
        return create_model(
            self.name, num_classes=self.num_classes, in_channels=self.in_channels, **self.options
        )


class Network(nn.Module):
    """The base of every network of the registry: a module that knows what it is.

    Attributes:
        architecture: set by :func:`create_model`.
    """

    architecture: Architecture


@dataclass(frozen=True)
class Entry:
    """A network of the registry.

    Attributes:
        name: how it is asked for.
        network: makes it; takes ``num_classes``, ``in_channels``, ``se`` and the options.
        preprocessing: what its inputs look like where no weights say otherwise.
        num_classes: of its usual data set.
        plain: for an SE network the name of its twin without SE, else ``None``.
    """

    name: str
    network: Callable[..., Network]
    preprocessing: Preprocessing
    num_classes: int
    plain: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options it takes, with their defaults."""
        own = {
            p.name: p.default
            for p in inspect.signature(self.network).parameters.values()
            if p.name not in ("block", "num_classes", "in_channels", "se")
        }
        return own if self.plain is None else own | SE_OPTIONS

    def build(self, num_classes: int, in_channels: int, options: Mapping[str, Any]) -> Network:
        if self.plain is None:
            return self.network(num_classes=num_classes, in_channels=in_channels, **options)
        own = {name: value for name, value in options.items() if name not in SE_OPTIONS}
        block = {k: v for k, v in (SE_OPTIONS | dict(options)).items() if k in SE_OPTIONS}
        se = partial(SqueezeExcitation, bias=block.pop("se_bias"), **block)
        return self.network(num_classes=num_classes, in_channels=in_channels, se=se, **own)


_ENTRIES: dict[str, Entry] = {}


def register_twins(
    name: str, network: Callable[..., Network], preprocessing: Preprocessing, num_classes: int
) -> None:
    """Add ``name`` and ``se_name``; a family's file does this when it is imported."""
    se_name = f"se_{name}"
    assert name not in _ENTRIES
    _ENTRIES[name] = Entry(name, network, preprocessing, num_classes)
    _ENTRIES[se_name] = Entry(se_name, network, preprocessing, num_classes, plain=name)


def list_models(pattern: str = "*") -> list[str]:
    """The names of all networks, or of those that a shell pattern fits, sorted.

    Example:
        >>> list_models("se_resnext*")
        ['se_resnext101_32x4d', 'se_resnext50_32x4d']
    """
    return sorted(fnmatch.filter(_ENTRIES, pattern))


def entry(name: str) -> Entry:
    """What is registered under ``name``.

    Raises:
        ValueError: if there is no such network; the message suggests near names.
    """
    if name not in _ENTRIES:
        raise ValueError(f"no network {name!r}.{near(name, _ENTRIES)} `senet models` lists all.")
    return _ENTRIES[name]


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    **options: Any,
) -> Network:
    """Make a network by its name.

    Args:
        name: one of :func:`list_models`.
        num_classes: outputs of the classifier; by default those of the network's usual data set.
        in_channels: channels of the input image, 3 by default.
        **options: of the network, as ``entry(name).options`` lists them; every SE network takes
            ``reduction``, ``squeeze``, ``gate``, ``se_bias`` and ``gate_bias``.

    Returns:
        The network, randomly initialised from PyTorch's global generator, with its
        :class:`Architecture` as ``architecture``.

    Raises:
        ValueError: for an unknown name or option, with near ones.

    Example:
        >>> import torch
        >>> model = create_model("se_resnet20_cifar", num_classes=5, reduction=8)
        >>> model(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """
    found = entry(name)
    for option in options:
        if option not in found.options:
            known = ", ".join(found.options)
            raise ValueError(
                f"{name} has no option {option!r}.{near(option, found.options)} It takes: {known}."
            )
    architecture = Architecture(
        name,
        found.num_classes if num_classes is None else num_classes,
        found.preprocessing.channels if in_channels is None else in_channels,
        options,
    )
    for what in ("num_classes", "in_channels"):
        if getattr(architecture, what) < 1:
            raise ValueError(f"{what} must be at least 1, got {getattr(architecture, what)}")
    model = found.build(architecture.num_classes, architecture.in_channels, options)
    model.architecture = architecture
    return model
