"""The networks that the authors of the paper published, from their Caffe files.

Their definitions and weights are at https://github.com/hujie-frank/SENet. What Caffe has otherwise:

===================================  ==============================================================
``BatchNorm``, then ``Scale``        one batch norm; Caffe keeps its statistics times a factor
images of BGR in 0 … 255             the first convolution's channels are turned round
minus 104, 117, 123                  :data:`PREPROCESSING`, exactly
max pooling from the map's corner    the option ``stem_pool="ceil"``
stride on the first 1×1 of a block   the option ``stride_on="1x1"``, in the SE-ResNets alone
classes as the kits number them      the classifier's rows are put into the usual order
===================================  ==============================================================
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from senet.models.caffemodel import Layers, read_caffemodel
from senet.models.ilsvrc import USUAL
from senet.models.preprocessing import Preprocessing
from senet.models.registry import Architecture

PREPROCESSING = Preprocessing(
    size=224, mean=(123 / 255, 117 / 255, 104 / 255), std=(1 / 255,) * 3, crop=0.875
)

_RESNET = {"stem_pool": "ceil", "stride_on": "1x1"}
_RESNEXT = {"stem_pool": "ceil"}
# Blocks a stage, and the first 3×3 convolution of them; our name, and its options.
_PUBLISHED: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[str, dict[str, Any]]] = {
    ((3, 4, 6, 3), (64, 64, 3, 3)): ("se_resnet50", _RESNET),
    ((3, 4, 23, 3), (64, 64, 3, 3)): ("se_resnet101", _RESNET),
    ((3, 8, 36, 3), (64, 64, 3, 3)): ("se_resnet152", _RESNET),
    ((3, 4, 6, 3), (128, 4, 3, 3)): ("se_resnext50_32x4d", _RESNEXT),
    ((3, 4, 23, 3), (128, 4, 3, 3)): ("se_resnext101_32x4d", _RESNEXT),
    ((3, 8, 36, 3), (256, 2, 3, 3)): ("senet154", {}),
}

_STEM = re.compile(r"conv1(?:_([123]))?/\dx\d(?:_s2)?")
_BLOCK = re.compile(r"conv([2-5])_(\d+)_(\w+)")
_PARTS = {
    "1x1_reduce": "conv1",
    "3x3": "conv2",
    "1x1_increase": "conv3",
    "1x1_down": "se.fc1",
    "1x1_up": "se.fc2",
    "1x1_proj": "downsample.0",
}


def from_caffe(
    path: str | os.PathLike[str],
) -> tuple[Architecture, dict[str, Tensor], Preprocessing]:
    """Everything that makes one of the authors' networks, from its ``.caffemodel`` file alone.

    Known are SE-ResNet-50, 101 and 152, SE-ResNeXt-50 and 101 (32×4d) and SENet-154.

    Args:
        path: of the file.

    Returns:
        Which network it is; its state dict, for :func:`~senet.models.weights.load_state`, which
        says what is missing or left over; and what the network wants to be fed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such file, is damaged, or is of another network.

    Example:
        ::

            architecture, state, preprocessing = from_caffe("SE-ResNet-50.caffemodel")
            model = architecture.build()
            load_state(model, state)
    """
    layers = read_caffemodel(path)
    try:
        return recognise(layers), translate(layers), PREPROCESSING
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def recognise(layers: Layers) -> Architecture:
    """Which of the authors' networks has these layers.

    Raises:
        ValueError: if it is none of them.

    Example:
        >>> recognise({"conv1": (np.zeros((96, 3, 11, 11)),)})
        Traceback (most recent call last):
        ValueError: none of the networks that the authors of the paper published (...) has these ...
    """
    found = Counter(name[4] for name in layers if _BLOCK.fullmatch(name) and name.endswith("_3x3"))
    blocks = tuple(found[stage] for stage in "2345")
    shape = layers["conv2_1_3x3"][0].shape if "conv2_1_3x3" in layers else ()
    if (blocks, shape) not in _PUBLISHED or "classifier" not in layers:
        names = ", ".join(name for name, _ in _PUBLISHED.values())
        raise ValueError(
            f"none of the networks that the authors of the paper published ({names}) has these "
            f"layers: stages 2 to 5 have {blocks} blocks, conv2_1_3x3 has the shape {shape}, and "
            f"there is {'a' if 'classifier' in layers else 'no'} classifier"
        )
    name, options = _PUBLISHED[blocks, shape]
    return Architecture(name, layers["classifier"][-1].size, 3, dict(options))


def translate(layers: Layers) -> dict[str, Tensor]:
    """The state dict that these layers are, under our names and in our order.

    A layer that is not of the authors' networks keeps its name. With 1000 classes they are taken
    for ImageNet's, in the order of :mod:`~senet.models.ilsvrc`.

    Raises:
        ValueError: if a layer has another number of arrays than it should, or comes twice.

    Example:
        >>> layers = {"conv2_1_1x1_reduce/bn": (np.array([3.0]), np.array([6.0]), np.array([2.0]))}
        >>> translate(layers)
        {'layer1.0.bn1.running_mean': tensor([1.5000]), 'layer1.0.bn1.running_var': tensor([3.])}
    """
    state: dict[str, Tensor] = {}
    for layer, arrays in layers.items():
        for name, array in _named(layer, arrays).items():
            if name in state:
                raise ValueError(f"two layers are {name}, the second is {layer!r}")
            state[name] = _arranged(name, torch.from_numpy(np.array(array, dtype=np.float32)))
    return state


def _named(layer: str, arrays: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """The arrays of a layer of Caffe under our names."""
    convolution = layer.removesuffix("/scale").removesuffix("/bn")
    module = _module(convolution)
    if module is None:
        module = layer
    elif convolution != layer:
        module = _norm_after(module)
    kept = _statistics if layer.endswith("/bn") else _weights
    return {f"{module}.{name}": value for name, value in kept(layer, arrays).items()}


def _module(layer: str) -> str | None:
    """Our name of a convolution, or of the classifier: ``conv2_1_3x3`` is ``layer1.0.conv2``."""
    if layer == "classifier":
        return "fc"
    if found := _STEM.fullmatch(layer):
        return f"conv{found[1] or 1}"
    found = _BLOCK.fullmatch(layer)
    if found and found[3] in _PARTS:
        return f"layer{int(found[1]) - 1}.{int(found[2]) - 1}.{_PARTS[found[3]]}"
    return None


def _norm_after(convolution: str) -> str:
    """Our name of the batch norm after a convolution of ours."""
    return convolution.replace("conv", "bn").replace("downsample.0", "downsample.1")


def _statistics(layer: str, arrays: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """Of a batch norm: Caffe keeps sums, and what they are to be divided by."""
    if len(arrays) != 3:
        raise ValueError(f"layer {layer!r} has {len(arrays)} arrays, wanted 3")
    mean, variance, factor = arrays
    scale = 1 / factor.item() if factor.item() else 0.0  # nothing seen yet; Caffe takes 0 too
    return {"running_mean": mean.ravel() * scale, "running_var": variance.ravel() * scale}


def _weights(layer: str, arrays: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """Of the layers that are no batch norm: a weight, and perhaps a bias.

    In files of before 2015 every array has four dimensions, also where one or two are meant.
    """
    if len(arrays) not in (1, 2):
        raise ValueError(f"layer {layer!r} has {len(arrays)} arrays, wanted 1 or 2")
    weight, *bias = arrays
    if layer.endswith("/scale"):
        weight = weight.ravel()
    elif layer == "classifier":
        weight = weight.reshape(weight.shape[-2:])
    return {"weight": weight, "bias": bias[0].ravel()} if bias else {"weight": weight}


def _arranged(name: str, value: Tensor) -> Tensor:
    """For images of RGB, and with the classes in their usual order."""
    if name == "conv1.weight" and value.dim() == 4:
        return value.flip(1)
    if name in ("fc.weight", "fc.bias") and value.shape[:1] == (len(USUAL),):
        return value[torch.tensor(USUAL).argsort()]
    return value
