"""Facts about all networks and all published weights: figures and addresses, without PyTorch.

Nothing has to be built to list the networks, or to refuse a name that does not exist. Both tables
are kept beside the networks:

==================================  ================================================================
``models/describe/catalogue.json``  written by ``make catalogue`` from the networks themselves; a
                                    test compares the two
``models/weights/published.toml``   written by hand; its head says what the fields are
``models/weights/trained/*.toml``   the same fields of each set of this project's own, whose file of
                                    weights lies beside it; written by ``make evidence-weights``
==================================  ================================================================
"""

from __future__ import annotations

import fnmatch
import functools
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from senet.near import near

CATALOGUE = Path(__file__).parent / "models" / "describe" / "catalogue.json"
WEIGHTS = Path(__file__).parent / "models" / "weights" / "published.toml"
TRAINED = WEIGHTS.with_name("trained")
SHIPPED = "senet/models/weights/trained/"
"""How the sources of the sets begin that come with the package."""


@dataclass(frozen=True)
class Network:
    """The facts about a network of the registry that a list shows.

    Attributes:
        name: the name of the network.
        twin: name of the same network without SE, or with it.
        has_se: whether this is the one with SE.
        channels: channels of its usual images.
        size: side in pixels of its usual images.
        num_classes: classes of its usual data set.
        parameters: number of learnable parameters.
        multiply_adds: multiply-adds of one image of the usual size.
    """

    name: str
    twin: str
    has_se: bool
    channels: int
    size: int
    num_classes: int
    parameters: int
    multiply_adds: int

    @property
    def plain(self) -> str:
        """The name of the one without SE: this network or its twin."""
        return self.twin if self.has_se else self.name


@functools.cache
def networks() -> dict[str, Network]:
    """Return all networks by name, sorted.

    Example:
        >>> networks()["se_resnet50"].parameters
        28088024
    """
    return {name: Network(name, **facts) for name, facts in sorted(_kept()["networks"].items())}


def options() -> list[str]:
    """Return the names of all options that any network takes, with any kind of attention.

    Example:
        >>> [name in options() for name in ("reduction", "widths", "reducton")]
        [True, True, False]
    """
    return _kept()["options"]


@functools.cache
def _kept() -> dict[str, Any]:
    return json.loads(CATALOGUE.read_text(encoding="utf-8"))


def network(name: str) -> Network:
    """Return the facts about one network.

    Raises:
        ValueError: if there is no such network; the message suggests near names.
    """
    if name not in networks():
        raise ValueError(no_network(name, networks()))
    return networks()[name]


def no_network(name: str, names: Iterable[str]) -> str:
    """Return the message about a network that does not exist.

    Example:
        >>> no_network("se_resnt50", ["se_resnet50"])
        "no network 'se_resnt50'. Did you mean se_resnet50? `senet models` lists all."
    """
    return f"no network {name!r}.{near(name, names)} `senet models` lists all."


@functools.cache
def weights() -> dict[str, dict[str, Any]]:
    """Return the fields of every published set by its name, ``network.set``, in the table's order.

    The fields are those of the table, with ``report`` as an address, empty where there is none.

    Example:
        >>> weights()["se_resnet50.timm_a1_in1k"]["licence"]
        'apache-2.0'
    """
    table = tomllib.loads(WEIGHTS.read_text(encoding="utf-8"))
    reports = table.pop("reports")
    published = {
        f"{network}.{name}": fields
        | {"report": reports[key] if (key := fields.get("report")) else ""}
        for network, sets in table.items()
        for name, fields in sets.items()
    }
    own = {
        file.stem: tomllib.loads(file.read_text(encoding="utf-8"))
        for file in sorted(TRAINED.glob("*.toml"))
    }
    return published | own


def weights_like(pattern: str) -> list[str]:
    """Return the names of the published sets that a pattern fits, sorted.

    It may fit the whole name (``network.set``), the network, the set, one of the words that the set
    is made of (``timm``, ``cifar10``), or ``imagenet`` for those of 1000 classes.

    Example:
        >>> weights_like("cifar10")[:2]
        ['resnet110_cifar.akamaster_cifar10', 'resnet20_cifar.akamaster_cifar10']
    """
    return [name for name in sorted(weights()) if fnmatch.filter(_words(name), pattern)]


def _words(name: str) -> list[str]:
    network, _, own = name.partition(".")
    data = ["imagenet"] if weights()[name].get("num_classes", 1000) == 1000 else []
    return [name, network, own, *own.split("_"), *data]


def shipped(source: str) -> Path | None:
    """Return the file of a set that comes with the package, or ``None`` for any other source.

    Example:
        >>> shipped("timm/seresnet50.a1_in1k") is None
        True
    """
    return TRAINED / Path(source).name if source.startswith(SHIPPED) else None


def top1(name: str) -> list[float]:
    """Return the published top-1 accuracies, in percent, of all sets of a network.

    Example:
        >>> max(top1("se_resnet18"), default=None) is None
        True
    """
    return [fields["top1"] for fields in weights_of(name).values() if "top1" in fields]


def weights_of(name: str) -> dict[str, Mapping[str, Any]]:
    """Return the published sets of one network."""
    return {key: weights()[key] for key in fnmatch.filter(weights(), f"{name}.*")}


def count(number: int) -> str:
    """Return a count to three digits, as papers print it.

    Example:
        >>> count(3_857_925_120), count(2_514_944), count(672)
        ('3.86 G', '2.51 M', '672')
    """
    for size, unit in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= size:
            whole = len(str(number // size))
            return f"{number / size:.{max(0, 3 - whole)}f}{unit}"
    return str(number)
