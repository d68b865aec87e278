"""Networks by name, each with its plain twin."""

from __future__ import annotations

import fnmatch
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from senet.known import no_network
from senet.models import attention
from senet.models.features import Pyramid
from senet.models.network import Network
from senet.models.preprocessing import Preprocessing
from senet.near import near


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


@dataclass(frozen=True)
class Entry:
    """A network of the registry.

    Attributes:
        name: how it is asked for.
        network: makes it; takes ``num_classes``, ``in_channels``, ``se`` (what makes the blocks of
            attention, see :mod:`senet.models.attention`, or ``None``) and its own options.
        preprocessing: what its inputs look like where no weights say otherwise.
        num_classes: of its usual data set.
        twin: name of the same network without SE, or with it.
        has_se: which of the two this is.
    """

    name: str
    network: Callable[..., Network]
    preprocessing: Preprocessing
    num_classes: int
    twin: str
    has_se: bool

    @property
    def family(self) -> type[Network]:
        """The class of the network, which translates weights from elsewhere."""
        made_by = getattr(self.network, "func", self.network)  # of a partial
        assert isinstance(made_by, type), self.name
        return made_by

    @property
    def plain(self) -> str | None:
        """For an SE network the name of its twin without SE, else ``None``."""
        return self.twin if self.has_se else None

    def kind(self, options: Mapping[str, Any]) -> str | None:
        """The kind of attention that the network has with these options."""
        return options.get("attention", "se" if self.has_se else None)

    def options(self, kind: str | None = None) -> dict[str, Any]:
        """The options it takes, with their defaults.

        Args:
            kind: of attention; by default that of the network.
        """
        kind = kind or self.kind({})
        own = {
            p.name: p.default
            for p in inspect.signature(self.network).parameters.values()
            if p.name not in ("block", "num_classes", "in_channels", "se")
            and not (kind is None and attention.is_option(p.name))
        }
        return {**own, "attention": kind, **attention.options_of(kind)}

    def build(self, num_classes: int, in_channels: int, options: Mapping[str, Any]) -> Network:
        kind = self.kind(options)
        chosen = {k: v for k, v in options.items() if k in attention.options_of(kind)}
        own = {k: v for k, v in options.items() if k not in chosen and k != "attention"}
        se = attention.attend(kind, chosen)
        model = self.network(num_classes=num_classes, in_channels=in_channels, se=se, **own)
        last = len(model.stages) + 1
        if max(attention.stages(chosen.get("se_stages")), default=0) > last:
            raise ValueError(f"se_stages={chosen['se_stages']}: {self.name} has stages 2 to {last}")
        return model


_ENTRIES: dict[str, Entry] = {}


def register_twins(
    plain: str,
    network: Callable[..., Network],
    preprocessing: Preprocessing,
    num_classes: int,
    se: str | None = None,
) -> None:
    """Add a network without SE and with it; a family's file does this when it is imported.

    Args:
        plain: name of the network without SE.
        network: makes both, see :class:`Entry`.
        preprocessing: of both.
        num_classes: of both.
        se: name of the network with SE, by default ``se_`` and ``plain``.
    """
    se = se or f"se_{plain}"
    for name, twin, has_se in ((plain, se, False), (se, plain, True)):
        assert name not in _ENTRIES, name
        _ENTRIES[name] = Entry(name, network, preprocessing, num_classes, twin, has_se)


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
        raise ValueError(no_network(name, _ENTRIES))
    return _ENTRIES[name]


@overload
def create_model(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features: None = None,
    **options: Any,
) -> Network: ...
@overload
def create_model(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features: Sequence[int],
    **options: Any,
) -> Pyramid: ...
def create_model(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features: Sequence[int] | None = None,
    **options: Any,
) -> Network | Pyramid:
    """Make a network by its name.

    Args:
        name: one of :func:`list_models`.
        weights: to begin with instead of random ones: a set of
            :func:`~senet.models.list_weights`, a repository of the Hugging Face hub, a URL, or a
            file; see :func:`~senet.models.find_weights`.
        num_classes: outputs of the classifier; by default those of the weights, or of the
            network's usual data set. Where the weights have others, the classifier is new, and a
            warning says so.
        in_channels: channels of the input image, by default those of the weights, or 3.
        features: levels of a feature pyramid, to get a :class:`~senet.models.features.Pyramid`:
            the backbone of a detector or segmenter.
        **options: of the network, as ``entry(name).options()`` lists them. Every network takes
            ``attention`` (``"se"``, or another of :data:`~senet.models.attention.KINDS`, or
            ``None``); those with SE take ``se_stages``, ``reduction`` (also one a stage),
            ``squeeze``, ``gate``, ``se_bias`` and ``gate_bias``. Options that the weights are
            known to need are set, but what is said here comes first.

    Returns:
        The network, randomly initialised from PyTorch's global generator, with its
        :class:`Architecture` as ``architecture``, and what its images are to look like as
        ``preprocessing``.

    Raises:
        ValueError: for an unknown name or option, with near ones; and for weights that cannot be
            had, are damaged or do not fit.

    Example:
        >>> import torch
        >>> model = create_model("se_resnet20_cifar", num_classes=5, reduction=8)
        >>> model(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """
    if weights is not None:
        from senet.models.pretrained import create_pretrained  # which builds on this

        loaded = create_pretrained(
            name, weights, num_classes, in_channels, options, with_head=features is None
        )
        return loaded if features is None else Pyramid(loaded, features)
    found = entry(name)
    kind = found.kind(options)
    known = found.options(kind)
    for option in options:
        if option not in known:
            what = name if kind == found.kind({}) else f"{name} with attention={kind!r}"
            raise ValueError(
                f"{what} has no option {option!r}.{near(option, known)} "
                f"It takes: {', '.join(known)}."
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
    model.preprocessing = found.preprocessing.of_channels(architecture.in_channels)
    return model if features is None else Pyramid(model, features)
