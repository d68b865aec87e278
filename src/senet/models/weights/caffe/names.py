"""The names of convolutions in the authors' definitions for Caffe, and in our networks.

A function of this file takes the name of a layer of theirs, and returns the name of our module, or
``None`` if the network has no such layer.
"""

from __future__ import annotations

import re

_STEM = re.compile(r"conv1(?:_([123]))?/\dx\d(?:_s2)?")
_BLOCK = re.compile(r"conv([2-5])_(\d+)_(\w+)")
_IN_BLOCK = {
    "1x1_reduce": "conv1",
    "3x3": "conv2",
    "1x1_increase": "conv3",
    "1x1_proj": "downsample.0",
    "1x1_down": "se.fc1",
    "1x1_up": "se.fc2",
}


def residual(layer: str) -> str | None:
    """Return our name in SE-ResNets, SE-ResNeXts and SENet-154.

    Example:
        >>> residual("conv1/7x7_s2"), residual("conv2_1_3x3"), residual("conv3_2_1x1_up")
        ('conv1', 'layer1.0.conv2', 'layer2.1.se.fc2')
    """
    if found := _STEM.fullmatch(layer):
        return f"conv{found[1] or 1}"
    found = _BLOCK.fullmatch(layer)
    if found and found[3] in _IN_BLOCK:
        return f"layer{int(found[1]) - 1}.{int(found[2]) - 1}.{_IN_BLOCK[found[3]]}"
    return None


_BEFORE_MODULES = {
    "conv1/7x7_s2": "stage1.conv1.conv",
    "conv2/3x3_reduce": "stage2.reduce.conv",
    "conv2/3x3": "stage2.conv2.conv",
}
_MODULE = re.compile(r"inception_((\d)\w)([/_]\w+)")
_IN_MODULE = {
    "/1x1": "branches.1x1.0.conv",
    "/3x3_reduce": "branches.3x3.0.conv",
    "/3x3": "branches.3x3.1.conv",
    "/double3x3_reduce": "branches.double3x3.0.conv",
    "/double3x3a": "branches.double3x3.1.conv",
    "/double3x3b": "branches.double3x3.2.conv",
    "/pool_proj": "branches.pool.1.conv",
    "_1x1_down": "se.fc1",
    "_1x1_up": "se.fc2",
}
_OPENS_STAGE = {"3c": 4, "4e": 5}  # the modules that halve the map


def inception(layer: str) -> str | None:
    """Return our name in SE-BN-Inception.

    Example:
        >>> inception("conv1/7x7_s2"), inception("inception_3c/double3x3b")
        ('stage1.conv1.conv', 'stage4.3c.branches.double3x3.2.conv')
    """
    found = _MODULE.fullmatch(layer)
    if found and found[3] in _IN_MODULE:
        stage = _OPENS_STAGE.get(found[1], found[2])
        return f"stage{stage}.{found[1]}.{_IN_MODULE[found[3]]}"
    return _BEFORE_MODULES.get(layer)


def norm_after(convolution: str) -> str:
    """Return our name of the batch norm that follows a convolution of ours, in all families.

    Example:
        >>> norm_after("layer1.0.conv2"), norm_after("layer1.0.downsample.0")
        ('layer1.0.bn2', 'layer1.0.downsample.1')
        >>> norm_after("stage2.conv2.conv")
        'stage2.conv2.bn'
    """
    return re.sub(r"\.0$", ".1", re.sub(r"conv(\d?)$", r"bn\1", convolution))
