"""The state dict in a checkpoint: training programs wrap it in many ways."""

from __future__ import annotations

import argparse
import os
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Entries that hold averaged weights, which are better than the last ones.
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
_USUAL = ("state_dict", "model", "model_state_dict", "net", "network", "weights", "weight")

# What wraps a network gives all of its tensors one more name in front.
_WRAPPER = re.compile(r"(_orig_mod|module|model|net|network|backbone|encoder)\.")


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """Return what ``torch.save`` wrote, with ``weights_only``.

    Besides tensors it may hold what training programs write beside them and cannot run code:
    options in an ``argparse.Namespace``, numbers of NumPy.

    Raises:
        Exception: of any kind, if it is damaged or holds more.
    """
    with torch.serialization.safe_globals(_harmless()):
        return torch.load(path, map_location="cpu", weights_only=True)


def _harmless() -> list[Any]:
    scalar = np.float64(0).__reduce__()[0]
    numbers = (np.bool_, np.int32, np.int64, np.float32, np.float64)
    named = [(scalar, f"numpy.{place}.multiarray.scalar") for place in ("core", "_core")]
    return [argparse.Namespace, np.dtype, *(type(np.dtype(kind)) for kind in numbers), *named]


def state_in(found: Any, path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the state dict in a checkpoint, without the names of what was around the network.

    Averaged weights are preferred, with a warning that says so.

    Args:
        found: what the file holds.
        path: the file, for messages.

    Raises:
        ValueError: if there is no state dict, or several of which none has a usual name.

    Example:
        >>> state_in({"epoch": 3, "net": {"module.fc.bias": torch.zeros(2)}}, "last.pth")
        {'fc.bias': tensor([0., 0.])}
    """
    if _is_state(found):
        return _unwrapped(found)
    entries = found if isinstance(found, Mapping) else {}
    inside = {key: value for key, value in entries.items() if isinstance(value, Mapping) and value}
    for key in _AVERAGED:
        if key in inside and _has_state(inside[key]):
            if any(other in inside for other in _USUAL):
                warnings.warn(f"{path}: the averaged weights are taken, {key!r}", stacklevel=2)
            return state_in(inside[key], path)
    for key in _USUAL:
        if key in inside and _has_state(inside[key]):
            return state_in(inside[key], path)
    states = [key for key, value in inside.items() if _has_state(value)]
    if len(states) == 1:
        return state_in(inside[states[0]], path)
    if states:
        raise ValueError(
            f"{path} holds several state dicts, {', '.join(map(repr, states))}: save the one that "
            "is meant alone"
        )
    what = f"a dict of {', '.join(map(repr, list(entries)[:5]))}" if entries else type(found)
    raise ValueError(f"{path} holds no state dict (names and tensors), but {what}")


def _is_state(found: Any) -> bool:
    return (
        isinstance(found, Mapping)
        and bool(found)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())
    )


def _has_state(found: Any) -> bool:
    if _is_state(found):
        return True
    return isinstance(found, Mapping) and any(_has_state(value) for value in found.values())


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without the prefixes that all of its names share."""
    state = {name: value for name, value in state.items() if name != "n_averaged"}
    while (first := _WRAPPER.match(next(iter(state), ""))) and all(
        name.startswith(first[0]) for name in state
    ):
        state = {name.removeprefix(first[0]): value for name, value in state.items()}
    return state
