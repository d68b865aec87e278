"""From the words of a command to a configuration.

:func:`asked` refuses a wrong value of a training setting before PyTorch is loaded; only the network
itself knows which options it takes, and that needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import typer

from senet import known
from senet.near import near
from senet.paths import expanded, is_images

if TYPE_CHECKING:
    from senet.training.config import TrainConfig
    from senet.training.variants import Vary


# --- the values of --set --------------------------------------------------------------------------


def pairs(settings: Iterable[str], option: str = "--set") -> dict[str, str]:
    """Split ``KEY=VALUE`` into keys and values as text; ``batch-size`` becomes ``batch_size``.

    Args:
        settings: the settings as written.
        option: the option that they belong to, for the message.

    Raises:
        typer.BadParameter: if there is no ``=``.

    Example:
        >>> pairs(["lr=0.1", "stem-pool = ceil"])
        {'lr': '0.1', 'stem_pool': 'ceil'}
    """
    found = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{option} {setting}: write it as KEY=VALUE")
        found[key.strip().replace("-", "_")] = text.strip()
    return found


def value(text: str, kind: Any) -> Any:
    """Parse a value written as text: ``3``, ``1e-3``, ``true``, ``none``, ``1,2``, a word.

    Args:
        text: the value as written.
        kind: the wanted type, possibly a union with ``None``. For ``str``, words that look like
            numbers stay words; for ``tuple``, a single number becomes a sequence.

    Example:
        >>> value("32", str), value("82", tuple[int, ...]), value("1e-3", float)
        ('32', (82,), 0.001)
        >>> value("none", int | None), value("16,32", NoneType)
        (None, (16, 32))
    """
    kinds = {get_origin(k) or k for k in (get_args(kind) if NoneType in get_args(kind) else [kind])}
    if NoneType in kinds and text.lower() == "none":
        return None
    if str in kinds:
        return text
    if tuple in kinds or "," in text:
        return tuple(_scalar(part.strip()) for part in text.split(",") if part.strip())
    return _scalar(text)


def _scalar(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text  # its recipient checks it


# --- the configuration of a training --------------------------------------------------------------


def recipe(name: str | None, data: str | None, weights: str | None = None) -> TrainConfig:
    """Return the named recipe, or the one that suits the weights or the data."""
    from senet.training import recipes

    place = expanded(data) if data is not None else None
    folder = place is not None and is_images(place)
    return recipes.recipe(name or ("finetune" if weights else "photos" if folder else "quick"))


def begun(run: Path | None, record: str) -> TrainConfig | None:
    """Return the configuration that a run began with; ``record`` is the file that holds it."""
    if run is None:
        return None
    from senet.runs.folder import read_json
    from senet.training.config import TrainConfig

    return TrainConfig.from_dict(read_json(run / record)["config"])


def asked(
    base: TrainConfig, settings: list[str] | None, given: Mapping[str, Any]
) -> tuple[TrainConfig, dict[str, str]]:
    """Override fields of ``base`` with what the command line says.

    Args:
        base: the settings to begin with.
        settings: the values of ``--set``.
        given: fields that have their own options; ``None`` if not given.

    Returns:
        the configuration, and the settings that are not fields, as text: options of the network.

    Raises:
        ValueError: for a value that a field cannot have, or a network that does not exist.
        typer.BadParameter: for a setting that is neither a field nor an option of any network.
    """
    texts = pairs(settings or [])
    kinds = _fields()
    changes = {name: field for name, field in given.items() if field is not None}
    changes |= {k: value(v, kinds[k]) for k, v in texts.items() if k in kinds}
    config = replace(base, **changes)
    known.network(config.model)
    options = {k: v for k, v in texts.items() if k not in kinds}
    for key in options:
        if key not in known.options():  # of any network; this one is asked later
            raise _no_such_setting(key, [*kinds, *known.options()])
    return config, options


def _fields() -> dict[str, Any]:
    """Return the fields that ``--set`` can set, and their types."""
    from senet.training.config import TrainConfig

    return {k: v for k, v in get_type_hints(TrainConfig).items() if k != "options"}


def of_weights(base: TrainConfig, weights: str, model: str | None) -> TrainConfig:
    """Return ``base`` with the network of the weights, and the options that they need."""
    from senet.models import find_weights

    record = find_weights(weights, model).record
    if record is None and model is None:
        raise ValueError(f"{weights} does not name its network: add --model")
    if record is None or model not in (None, record.architecture.name):
        return base
    return replace(base, model=record.architecture.name, options=record.architecture.options)


def configured(
    base: TrainConfig, settings: list[str] | None, given: Mapping[str, Any]
) -> TrainConfig:
    """Override ``base`` with what the command line says, including options of the network.

    The arguments are those of :func:`asked`.

    Raises:
        typer.BadParameter: for an option that the network does not have.
    """
    from senet.models import entry
    from senet.models.attention import is_option

    config, texts = asked(base, settings, given)
    takes = _known(config.model, {**base.options, **texts})
    options = {k: v for k, v in base.options.items() if k in takes}
    if base.model not in (config.model, entry(config.model).twin):
        # Options of SE blocks mean the same in every network; others belong to the recipe's own.
        options = {k: v for k, v in options.items() if is_option(k)}
    for key, text in texts.items():
        options[key] = _option(key, text, takes, [*_fields(), *takes])
    return replace(config, options=options)


def options_of(names: list[str], settings: list[str] | None) -> dict[str, Any]:
    """Parse options for several networks; at least one of them must know each."""
    texts = pairs(settings or [])
    takes = {k: v for name in names for k, v in _known(name, texts).items()}
    return {k: _option(k, text, takes, takes) for k, text in texts.items()}


def vary(text: str, config: TrainConfig) -> Vary:
    """Parse ``KEY=V1,V2``: values of the option's type, lists of numbers joined by ``+``.

    Raises:
        ValueError: for an option in which the networks of a comparison cannot differ.
    """
    from senet.models import entry
    from senet.training.variants import Vary, variants

    ((key, listed),) = pairs([text], "--vary").items()
    twins = entry(config.model)
    se = config.model if twins.has_se else twins.twin
    kind = type(_known(se, config.options).get(key))
    values = (one.strip() for one in listed.split(","))
    found = Vary(key, tuple(value(one.replace("+", ","), kind) for one in values if one))
    variants(replace(config, model=se), found)  # fails here, before the training is loaded
    return found


def _known(name: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a network, with those of its chosen attention."""
    from senet.models import entry

    return entry(name).options(entry(name).kind(chosen))


def _option(key: str, text: str, takes: Mapping[str, Any], names: Iterable[str]) -> Any:
    if key not in takes:
        raise _no_such_setting(key, names)
    return value(text, type(takes[key]))


def _no_such_setting(key: str, names: Iterable[str]) -> typer.BadParameter:
    return typer.BadParameter(f"--set {key}: no such setting.{near(key, names)}")


def new_folder(what: str, config: TrainConfig) -> Path:
    """Return a default run folder: ``runs/<what>-<data>-<time>``."""
    import re
    import time

    data = re.sub(r"[^\w.-]+", "-", expanded(config.data).resolve().name)
    return Path("runs") / f"{what}-{data}-{time.strftime('%Y%m%d-%H%M%S')}"
