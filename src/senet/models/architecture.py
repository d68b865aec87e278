"""The description of a network apart from its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from senet.models.network import Network
from senet.models.registry import Entry, entry
from senet.near import near


@dataclass(frozen=True)
class Architecture:
    """Everything that makes a network except its weights; a model keeps it as ``architecture``.

    Attributes:
        name: name of the network in the registry.
        num_classes: outputs of the classifier; 0 for a network without one, which returns features.
        in_channels: channels of the input image.
        options: options of the network that differ from the usual ones.
    """

    name: str
    num_classes: int
    in_channels: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        num_classes: int | None = None,
        in_channels: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Architecture:
        """Return the architecture of a network of the registry; what is not given is as usual.

        Raises:
            ValueError: if there is no network ``name``; the message suggests near names.

        Example:
            >>> Architecture.of("se_resnet50")
            Architecture(name='se_resnet50', num_classes=1000, in_channels=3, options={})
        """
        found = entry(name)
        return cls(
            name,
            found.num_classes if num_classes is None else num_classes,
            found.preprocessing.channels if in_channels is None else in_channels,
            dict(options or {}),
        )

    def build(self) -> Network:
        """Return the network, with new weights from PyTorch's global generator.

        Raises:
            ValueError: if a name or option is unknown (the message suggests near ones), or a number
                is too small.
        """
        found = entry(self.name)
        self._check(found)
        # A classifier that is taken off again: the other weights do not depend on it.
        model = found.build(self.num_classes or found.num_classes, self.in_channels, self.options)
        if not self.num_classes:
            model.reset_classifier(0)
        model.architecture = replace(self, options=dict(self.options))
        model.preprocessing = found.preprocessing.of_channels(self.in_channels)
        return model

    def _check(self, found: Entry) -> None:
        kind = found.kind(self.options)
        known = found.options(kind)
        for option in self.options:
            if option not in known:
                name = self.name
                what = name if kind == found.kind({}) else f"{name} with attention={kind!r}"
                raise ValueError(
                    f"{what} has no option {option!r}.{_meant(option, known)} "
                    f"It takes: {', '.join(known)}."
                )
        for what, least in ("num_classes", 0), ("in_channels", 1):
            if getattr(self, what) < least:
                raise ValueError(f"{what} must be at least {least}, got {getattr(self, what)}")


# Words of timm's create_model, and ours for the same.
_TIMM = {
    "in_chans": "in_channels",
    "pretrained": "weights",
    "checkpoint_path": "weights",
    "features_only": "features",
    "out_indices": "features",
    "drop_rate": "dropout",
    "drop_path_rate": "drop_path",
}


def _meant(option: str, known: Iterable[str]) -> str:
    if option in _TIMM:
        return f" Did you mean {_TIMM[option]}, as it is called here?"
    return near(option, [*known, "num_classes", "in_channels", "weights", "features"])
