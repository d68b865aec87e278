"""The record that travels with weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from senet.models.architecture import Architecture
from senet.models.network import Network
from senet.preprocessing import Preprocessing


@dataclass(frozen=True)
class Record:
    """Everything needed to use weights; it travels with them as JSON.

    Attributes:
        architecture: the network that they belong to.
        preprocessing: the preprocessing of its images.
        classes: names of the outputs, in their order; empty where they are unknown.
        metrics: measured figures, such as ``{"test_accuracy": 0.91}``.
    """

    architecture: Architecture
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Network, metrics: Mapping[str, float] | None = None) -> Record:
        """Return the record of a network. Classes without names are named by their numbers.

        Example:
            >>> from senet import create_model
            >>> Record.of(create_model("resnet8_cifar", num_classes=2)).classes
            ('0', '1')
        """
        numbers = tuple(str(number) for number in range(model.architecture.num_classes))
        return cls(model.architecture, model.preprocessing, model.classes or numbers, metrics or {})

    def to_json(self) -> str:
        """Return the record as JSON, as model files and exported programs carry it.

        Example:
            >>> from senet import create_model
            >>> record = Record.of(create_model("resnet8_cifar", layers=(1, 1, 1)))
            >>> Record.from_json(record.to_json()) == record
            True
        """
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, source: object = "the record") -> Record:
        """Return the record that :meth:`to_json` wrote.

        Args:
            text: JSON.
            source: where the text came from, for the message.

        Raises:
            ValueError: if it is not a record of this version, naming ``source``.
        """
        try:
            fields = json.loads(text)
            architecture = fields["architecture"]
            architecture["options"] = {k: _tuples(v) for k, v in architecture["options"].items()}
            return cls(
                Architecture(**architecture),
                Preprocessing(**fields["preprocessing"]),
                tuple(fields["classes"]),
                fields["metrics"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{source} has a record that this version of senet does not understand "
                f"({error!r}): it may be from a newer one. pip install --upgrade senet"
            ) from error


def _tuples(value: Any) -> Any:
    """Return lists as tuples: JSON has only lists, and options of networks are compared."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
