"""The networks of a comparison: one with SE and its plain twin, or one for each value of an option.

A pair is a family with a single SE network. If an option is varied, there is one SE network for
each of its values, and the plain twin is trained once, unless the plain network has the option too,
such as its widths. Then every value has its own plain twin, so that the difference between twins is
still the difference that SE makes.
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
        option: name of the option.
        values: its values; a list of numbers, one per stage, is one value.

    Raises:
        ValueError: if there is no value, or a repeated one.

    Example:
        >>> print(Vary("se_stages", (2, [3, 4], None)))
        se_stages=2,3+4,none
    """

    option: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        # JSON returns lists; tuples can be compared, and kept in a set.
        values = tuple(tuple(v) if isinstance(v, list) else v for v in self.values)
        object.__setattr__(self, "values", values)
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{self.option} needs one or more values, all different, got {values}")

    def __str__(self) -> str:
        return f"{self.option}={','.join(map(written, self.values))}"


def written(value: Any) -> str:
    """Return a value as the command line takes it.

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
        options: options of the network, as ``create_model`` takes them.
        twin: name in the comparison of the plain network that it is compared with; ``None`` for a
            plain network.
        value: value of the varied option, as the command line takes it; ``None`` where it plays no
            part.
    """

    model: str
    options: Mapping[str, Any]
    twin: str | None = None
    value: str | None = None

    @property
    def recorded(self) -> Network:
        """The entry in ``comparison.json``; the options are in the ``config.json`` of a run."""
        return Network(self.model, self.twin, self.value)


def variants(config: TrainConfig, vary: Vary | None = None) -> dict[str, Variant]:
    """Return the networks of a comparison by name, a plain one before those compared with it.

    Args:
        config: configuration of the trainings; ``config.model`` is the SE network.
        vary: an option of the network and its values; ``None`` for the pair alone.

    Raises:
        ValueError: if the network has no such option; the message suggests similar names.

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
    """Keep the options that a network's kind of attention takes, if the kind is what varies."""
    if vary.option != "attention":
        return options
    takes = ("attention", "placement", *options_of(options["attention"]))
    return {k: v for k, v in options.items() if k in takes or not is_option(k)}


def _require_heard(config: TrainConfig, found: Mapping[str, Variant]) -> None:
    """Refuse an option that no network takes."""
    if deaf := [k for k in config.options if all(k not in v.options for v in found.values())]:
        raise ValueError(f"no network of this comparison takes {', '.join(deaf)}: leave it out")


def require_buildable(
    found: Mapping[str, Variant], classes: int, input_shape: tuple[int, int, int]
) -> None:
    """Build every network on the meta device, and run the shape of an image through it.

    A value that one of them refuses is thus reported before the first is trained, not hours later.

    Args:
        found: the networks of :func:`variants`.
        classes: number of classes.
        input_shape: ``(channels, height, width)`` of an image.

    Raises:
        ValueError: if a network cannot be built, or would have no attention block; the message
            names the network and the reason.
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
                f"{name} would have no attention block at all and be identical to its plain twin, "
                "which is trained anyway: leave this value out"
            )
