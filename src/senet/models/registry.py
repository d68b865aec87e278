"""Networks by name, each with its plain twin."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from senet.known import no_network
from senet.models import attention
from senet.models.network import Network
from senet.preprocessing import Preprocessing


@dataclass(frozen=True)
class Entry:
    """A network of the registry.

    Attributes:
        name: the name of the network.
        network: a function that makes it; takes ``num_classes``, ``in_channels``, ``se`` (a
            function that makes the blocks of attention, see :mod:`senet.models.attention`, or
            ``None``) and its own options.
        preprocessing: the preprocessing of its images where no weights say otherwise.
        num_classes: number of classes of its usual data set.
        twin: name of the same network without SE, or with it.
        has_se: whether this is the one with SE.
    """

    name: str
    network: Callable[..., Network]
    preprocessing: Preprocessing
    num_classes: int
    twin: str
    has_se: bool

    @property
    def family(self) -> type[Network]:
        """The class of the network, which translates state dicts of other projects."""
        made_by = getattr(self.network, "func", self.network)  # of a partial
        assert isinstance(made_by, type), self.name
        return made_by

    @property
    def plain(self) -> str | None:
        """The name of the twin without SE of an SE network, else ``None``."""
        return self.twin if self.has_se else None

    def kind(self, options: Mapping[str, Any]) -> str | None:
        """Return the kind of attention that the network has with these options."""
        return options.get("attention", "se" if self.has_se else None)

    def options(self, kind: str | None = None) -> dict[str, Any]:
        """Return the options that the network takes, with their defaults.

        Args:
            kind: the kind of attention; by default that of the network.
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
        """Return the network; all options are known, see :class:`~senet.models.Architecture`.

        Raises:
            ValueError: if ``se_stages`` names a stage that the network does not have.
        """
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
        network: a function that makes both, see :class:`Entry`.
        preprocessing: the preprocessing of both.
        num_classes: the number of classes of both.
        se: name of the network with SE, by default ``se_`` and ``plain``.
    """
    se = se or f"se_{plain}"
    for name, twin, has_se in ((plain, se, False), (se, plain, True)):
        assert name not in _ENTRIES, name
        _ENTRIES[name] = Entry(name, network, preprocessing, num_classes, twin, has_se)


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of all networks, or of those that match a shell pattern, sorted.

    Example:
        >>> list_models("se_resnext*")
        ['se_resnext101_32x4d', 'se_resnext50_32x4d']
    """
    return sorted(fnmatch.filter(_ENTRIES, pattern))


def entry(name: str) -> Entry:
    """Return what is registered under ``name``.

    Raises:
        ValueError: if there is no such network; the message suggests near names.
    """
    if name not in _ENTRIES:
        raise ValueError(no_network(name, _ENTRIES))
    return _ENTRIES[name]
