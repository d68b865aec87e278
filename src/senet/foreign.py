"""Networks by the name that their own library gives them: ours, timm's, torchvision's."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from senet.models import create_model, entry
from senet.models.weights.timm import read_timm
from senet.near import near
from senet.preprocessing import Preprocessing

_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")


def find_network(name: str) -> tuple[nn.Module, int]:
    """Return a network with new weights, and the side in pixels of the images it is made for.

    Args:
        name: ``se_resnet50`` for one of ours, ``timm:seresnet50``, or ``torchvision:resnet50``.

    Raises:
        ValueError: if the library or the network is unknown; the message suggests near names.
        ImportError: if the library is not installed, with the remedy.

    Example:
        >>> model, side = find_network("se_resnet20_cifar")
        >>> side
        32
    """
    library, colon, own = name.partition(":")
    if not colon:
        return create_model(name), entry(name).preprocessing.size
    if library == "timm":
        return _of_timm(own)
    if library == "torchvision":
        return _of_torchvision(own)
    raise ValueError(f"no library {library!r}: there are timm:NAME and torchvision:NAME")


def _of_timm(name: str) -> tuple[nn.Module, int]:
    model = timm_that_has(name).create_model(name)
    return model, model.pretrained_cfg.get("input_size", (3, 224, 224))[-1]


def timm_has_weights(name: str) -> bool:
    """Return whether timm has trained weights of a network; raise as :func:`timm_that_has`."""
    return timm_that_has(name).is_model_pretrained(name)


def timm_preprocessing(name: str) -> Preprocessing:
    """Return how a network of timm takes its images, as timm says of its weights.

    Args:
        name: a network, such as ``resnet50``, or one of its sets of weights, ``resnet50.a1_in1k``.

    Raises:
        ValueError: if timm has no such network, does not say, or says what senet does not have.
        ImportError: if timm is not installed, with the remedy.
    """
    config = timm_that_has(name).get_pretrained_cfg(name)
    found = config and read_timm({"architecture": name, "pretrained_cfg": config.to_dict()})
    if not found:
        raise ValueError(f"timm does not say how {name} takes its images")
    return found.preprocessing


def timm_that_has(name: str) -> Any:
    """Return timm, if it has a network.

    Raises:
        ValueError: if it does not, with what may be meant.
        ImportError: if timm is not installed, with the remedy.
    """
    timm: Any = imported("timm")
    if not timm.is_model(name):
        raise ValueError(f"timm has no network {name!r}.{near(name, timm.list_models())}")
    return timm


def _of_torchvision(name: str) -> tuple[nn.Module, int]:
    models: Any = imported("torchvision").models
    if name not in models.list_models(models):
        near_ones = near(name, models.list_models(models))
        raise ValueError(f"torchvision has no network {name!r}.{near_ones}")
    return models.get_model(name), 299 if name == "inception_v3" else 224


def declare_operators() -> None:
    """Declare the operators without which torchvision does not import, if it lacks them.

    Beside a torch built for other devices, torchvision's compiled operators do not load. They are
    for detectors: classifiers, timm's too, need only that their names are known.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or "torchvision" in sys.modules:
        return
    for place in found.submodule_search_locations or ():
        for file in Path(place).glob("_C*.so"):
            with suppress(OSError):
                torch.ops.load_library(file)
    if not hasattr(torch.ops.torchvision, "nms"):
        for name in ("nms", "qnms"):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            _OPERATORS.define(name + signature)


def imported(library: str) -> Any:
    """Import timm or torchvision.

    Raises:
        ImportError: if it is not here, or does not import; the message gives the remedy.
    """
    try:
        declare_operators()
        return importlib.import_module(library)
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"{library} cannot be imported here ({error}). It is not a part of senet: "
            f"pip install {library}"
        ) from error
