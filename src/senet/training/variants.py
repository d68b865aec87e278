"""The networks of a comparison: one with SE and its plain twin, or one for each value of an option.

A pair is the family of a single network with SE. Where an option is varied, there is one network
with SE for each of its values, and the plain twin is trained once; unless the option is of the
plain network too, such as its widths. Then every value has a plain twin of its own, so that a
difference between twins is still the difference that SE makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from senet.models import create_model, entry
from senet.models.attention import is_option, options_of
from senet.models.describe.cost import multiply_adds
from senet.near import near
from senet.nn import ChannelAttention
from senet.runs.comparison import Network
from senet.training.config import TrainConfig


@dataclass(frozen=True)
class Vary:
    """An option of the network, and the values that it takes in turn.

    Attributes:
        option: its name.
        values: a list of numbers, one a stage, is one value.

    Raises:
        ValueError: if there is no value, or one that is there already.

    Example:
        >>> print(Vary("se_stages", (2, [3, 4], None)))
        se_stages=2,3+4,none
    """

    option: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        # JSON gives lists back; tuples can be compared, and kept in a set.
        values = tuple(tuple(v) if isinstance(v, list) else v for v in self.values)
        object.__setattr__(self, "values", values)
        if not values or len(set(values)) < len(values):
            raise ValueError(
                f"the values of {self.option} must be different ones, at least one, got {values}"
            )

    def __str__(self) -> str:
        return f"{self.option}={','.join(map(written, self.values))}"


def written(value: Any) -> str:
    """A value as the command line takes it.

    Example:
        >>> [written(v) for v in (8, (4, 8, 16), True, None, "3x3")]
        ['8', '4+8+16', 'true', 'none', '3x3']
    """
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Variant:
    """One network of a comparison.

    Attributes:
        model: its name in the registry.
        options: of the network, as ``create_model`` takes them.
        twin: name in the comparison of the plain network it is held against; ``None`` for that one.
        value: what the varied option is here, as it is written; ``None`` where it plays no part.
    """

    model: str
    options: Mapping[str, Any]
    twin: str | None = None
    value: str | None = None

    @property
    def recorded(self) -> Network:
        """What ``comparison.json`` says of it; the options are in the ``config.json`` of a run."""
        return Network(self.model, self.twin, self.value)


def variants(config: TrainConfig, vary: Vary | None = None) -> dict[str, Variant]:
    """The networks of a comparison by their names in it, a plain one before those held against it.

    Args:
        config: of the trainings; ``config.model`` is the SE network.
        vary: an option of it; ``None`` for the pair alone.

    Raises:
        ValueError: if the network has no such option, with near ones.

    Example:
        >>> config = TrainConfig(model="se_resnet20_cifar")
        >>> list(variants(config, Vary("reduction", (4, 16))))
        ['resnet20_cifar', 'se_resnet20_cifar-reduction=4', 'se_resnet20_cifar-reduction=16']
        >>> found = variants(config, Vary("stem_width", (16, 32)))
        >>> found["se_resnet20_cifar-stem_width=32"].twin
        'resnet20_cifar-stem_width=32'
    """
    se, plain = config.model, entry(config.model).twin
    if vary is not None:
        _require_option(config, vary)
    found: dict[str, Variant] = {}
    for value in (None,) if vary is None else vary.values:
        options, text, ending, shared = dict(config.options), None, "", ""
        if vary is not None:
            options = _of_kind(vary, {**options, vary.option: value})
            text = written(value)
            ending = f"-{vary.option}={text}"
            shared = "" if is_option(vary.option) else ending
        own = {k: v for k, v in options.items() if not is_option(k)}
        found.setdefault(plain + shared, Variant(plain, own, None, text if shared else None))
        found[se + ending] = Variant(se, options, plain + shared, text)
    _require_heard(config, found)
    return found


def _require_option(config: TrainConfig, vary: Vary) -> None:
    model = entry(config.model)
    known = model.options(model.kind(config.options))
    if vary.option in known:
        strange = [v for v in vary.values if not isinstance(v, bool)]
        if isinstance(known[vary.option], bool) and strange:
            raise ValueError(f"{vary.option} must be true or false, got {strange[0]!r}")
        return
    settings = [field.name for field in fields(TrainConfig)]
    if vary.option in settings:
        raise ValueError(
            f"{vary.option} is a setting of the training, and the networks of a comparison are all "
            f"trained alike: vary an option of {config.model}. It takes: {', '.join(known)}."
        )
    raise ValueError(
        f"{config.model} has no option {vary.option!r} to vary.{near(vary.option, known)} "
        f"It takes: {', '.join(known)}."
    )


def _of_kind(vary: Vary, options: dict[str, Any]) -> dict[str, Any]:
    """Where the kind of attention is varied, each network gets the options that its kind takes."""
    if vary.option != "attention":
        return options
    takes = ("attention", "placement", *options_of(options["attention"]))
    return {k: v for k, v in options.items() if k in takes or not is_option(k)}


def _require_heard(config: TrainConfig, found: Mapping[str, Variant]) -> None:
    """Refuse an option that no network has got."""
    if deaf := [k for k in config.options if all(k not in v.options for v in found.values())]:
        raise ValueError(f"no network of this comparison takes {', '.join(deaf)}: leave it out")


def require_buildable(
    found: Mapping[str, Variant], classes: int, input_shape: tuple[int, int, int]
) -> None:
    """Build every network without memory, and send the shape of an image through it.

    So a value that one of them refuses is told before the first is trained, not hours later.

    Args:
        found: of :func:`variants`.
        classes: outputs.
        input_shape: ``(channels, height, width)`` of an image.

    Raises:
        ValueError: naming the network and what it refuses, or that it would have no block of
            attention.
    """
    for name, variant in found.items():
        try:
            with torch.device("meta"):
                model = create_model(
                    variant.model,
                    num_classes=classes,
                    in_channels=input_shape[0],
                    **variant.options,
                )
            multiply_adds(model, input_shape)
        except (ValueError, TypeError, RuntimeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{name} cannot be built: {reason}") from error
        if variant.twin and not any(isinstance(m, ChannelAttention) for m in model.modules()):
            raise ValueError(
                f"{name} would have no block of attention at all, and so be its plain twin, which "
                "is trained anyway: leave this value out"
            )
