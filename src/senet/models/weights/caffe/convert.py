"""The networks that the authors of the paper published, from their Caffe files.

Their definitions and weights are at https://github.com/hujie-frank/SENet. Caffe differs in:

===================================  ==============================================================
``BatchNorm``, then ``Scale``        one batch norm; Caffe keeps its statistics times a factor
images of BGR in 0 … 255             the first convolution's channels are reversed
minus 104, 117, 123                  :data:`PREPROCESSING`, exactly
max pooling from the map's corner    the option ``stem_pool="ceil"``
stride on the first 1×1 of a block   the option ``stride_on="1x1"``, only in the SE-ResNets
classes as the kits number them      the classifier's rows are put into the usual order
===================================  ==============================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from senet.models.architecture import Architecture
from senet.models.weights.caffe.file import Layers, read_caffemodel
from senet.models.weights.caffe.names import inception, norm_after, residual
from senet.models.weights.ilsvrc import USUAL
from senet.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(
    size=224, mean=(123 / 255, 117 / 255, 104 / 255), std=(1 / 255,) * 3, crop=0.875
)

# Our name, and the options that it needs. Residual networks are known by the number of blocks of
# each stage, and the shape of the first 3×3 convolution in a block.
_Network = tuple[str, dict[str, Any]]
_RESNET = {"stem_pool": "ceil", "stride_on": "1x1"}
_RESNEXT = {"stem_pool": "ceil"}
_RESIDUAL: dict[tuple[tuple[int, ...], tuple[int, ...]], _Network] = {
    ((3, 4, 6, 3), (64, 64, 3, 3)): ("se_resnet50", _RESNET),
    ((3, 4, 23, 3), (64, 64, 3, 3)): ("se_resnet101", _RESNET),
    ((3, 8, 36, 3), (64, 64, 3, 3)): ("se_resnet152", _RESNET),
    ((3, 4, 6, 3), (128, 4, 3, 3)): ("se_resnext50_32x4d", _RESNEXT),
    ((3, 4, 23, 3), (128, 4, 3, 3)): ("se_resnext101_32x4d", _RESNEXT),
    ((3, 8, 36, 3), (256, 2, 3, 3)): ("senet154", {}),
}
_INCEPTION: _Network = ("se_bn_inception", {})

_FIRST = ("conv1.weight", "stage1.conv1.conv.weight")


def from_caffe(
    path: str | os.PathLike[str],
) -> tuple[Architecture, dict[str, Tensor], Preprocessing]:
    """Return everything that makes one of the authors' networks, from its ``.caffemodel`` file.

    The networks are SE-ResNet-50, 101 and 152, SE-ResNeXt-50 and 101 (32×4d), SENet-154 and
    SE-BN-Inception: all that they published.

    Args:
        path: path of the file.

    Returns:
        The architecture; the state dict, for :func:`~senet.models.weights.file.load_state`, which
        says what is missing or left over; and the preprocessing.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such a file, is damaged, or belongs to another network.

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
    """Return the architecture of the authors' network that has these layers.

    Raises:
        ValueError: if it is none of them.

    Example:
        >>> recognise({"fc8": (np.zeros((1000, 4096)), np.zeros(1000))})
        Traceback (most recent call last):
        ValueError: the layers are not of any network that the authors published (se_resnet50,...
    """
    found = [name[4] for name in layers if (residual(name) or "").endswith(".conv2")]
    blocks = tuple(found.count(stage) for stage in "2345")
    shape = layers["conv2_1_3x3"][0].shape if "conv2_1_3x3" in layers else ()
    network = _INCEPTION if _is_inception(layers) else _RESIDUAL.get((blocks, shape))
    if network is None or "classifier" not in layers:
        known = ", ".join(name for name, _ in (*_RESIDUAL.values(), _INCEPTION))
        raise ValueError(
            f"the layers are not of any network that the authors published ({known}): they have "
            f"{blocks} residual blocks in stages 2 to 5, conv2_1_3x3 has the shape {shape}, "
            f"and there is {'a' if 'classifier' in layers else 'no'} classifier"
        )
    name, options = network
    return Architecture(name, layers["classifier"][-1].size, 3, dict(options))


def _is_inception(layers: Layers) -> bool:
    return "inception_3a/1x1" in layers


def translate(layers: Layers) -> dict[str, Tensor]:
    """Return the state dict that these layers hold, under our names and in our order.

    A layer that the authors' networks do not have keeps its name. 1000 classes are taken to be
    ImageNet's, in the order of :mod:`~senet.models.weights.ilsvrc`.

    Raises:
        ValueError: if a layer has the wrong number of arrays, or occurs twice.

    Example:
        >>> layers = {"conv2_1_1x1_reduce/bn": (np.array([3.0]), np.array([6.0]), np.array([2.0]))}
        >>> translate(layers)
        {'layer1.0.bn1.running_mean': tensor([1.5000]), 'layer1.0.bn1.running_var': tensor([3.])}
    """
    module_of = inception if _is_inception(layers) else residual
    state: dict[str, Tensor] = {}
    for layer, arrays in layers.items():
        for name, array in _named(layer, arrays, module_of).items():
            if name in state:
                raise ValueError(f"two layers are {name}, the second is {layer!r}")
            state[name] = _arranged(name, torch.from_numpy(np.array(array, dtype=np.float32)))
    return state


def _named(
    layer: str, arrays: tuple[np.ndarray, ...], module_of: Callable[[str], str | None]
) -> dict[str, np.ndarray]:
    """Return the arrays of a Caffe layer under our names."""
    convolution = layer.removesuffix("/scale").removesuffix("/bn")
    module = "fc" if layer == "classifier" else module_of(convolution)
    if module is None:
        module = layer
    elif convolution != layer:
        module = norm_after(module)
    kept = _statistics if layer.endswith("/bn") else _weights
    return {f"{module}.{name}": value for name, value in kept(layer, arrays).items()}


def _statistics(layer: str, arrays: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """Return the statistics of a batch norm: Caffe keeps sums, and their divisor."""
    if len(arrays) != 3:
        raise ValueError(f"layer {layer!r} has {len(arrays)} arrays, wanted 3")
    mean, variance, factor = arrays
    scale = 1 / factor.item() if factor.item() else 0.0  # nothing seen yet; Caffe uses 0 too
    return {"running_mean": mean.ravel() * scale, "running_var": variance.ravel() * scale}


def _weights(layer: str, arrays: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """Return the weight, and perhaps the bias, of a layer that is not a batch norm.

    In files from before 2015 every array has four dimensions, even where one or two are meant.
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
    """Rearrange a tensor for images of RGB, and for classes in their usual order."""
    if name in _FIRST and value.dim() == 4:
        return value.flip(1)
    if name in ("fc.weight", "fc.bias") and value.shape[:1] == (len(USUAL),):
        return value[torch.tensor(USUAL).argsort()]
    return value
