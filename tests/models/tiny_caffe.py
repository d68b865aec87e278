"""As much of Caffe as the authors' networks need: their definitions, their arithmetic, its files.

Written from the prototxt files of https://github.com/hujie-frank/SENet, and independent of what is
tested with it.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.nn import functional as F

MEAN_BGR = (104, 117, 123)


@dataclass(frozen=True)
class Layer:
    """A layer of a network definition, and what it has learnt."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    top: str
    arrays: tuple[np.ndarray, ...] = ()
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """What differs between the authors' definitions, as multiples of 64, 128, 256 and 512."""

    reduce: int
    inner: int
    groups: int
    stride_on: str
    deep: bool = False


FAMILIES = {
    "SE-ResNet": Family(1, 1, 1, "1x1_reduce"),
    "SE-ResNeXt": Family(2, 2, 32, "3x3"),
    "SENet": Family(2, 4, 64, "3x3", deep=True),
}


class Definition:
    """A prototxt in the making.

    Args:
        draw: makes the array of a shape, given what it is.
    """

    def __init__(self, draw):
        self.layers, self.channels, self.draw = [], {"data": 3}, draw

    def add(self, name, kind, bottoms, top, arrays=(), **options):
        self.layers.append(Layer(name, kind, bottoms, top, arrays, options))

    def conv(self, name, bottom, outputs, kernel, stride=1, group=1, bias=False):
        shape = (outputs, self.channels[bottom] // group, kernel, kernel)
        arrays = (self.draw("weight", shape), *([self.draw("bias", (outputs,))] if bias else []))
        pad = kernel // 2
        self.add(name, "Convolution", (bottom,), name, arrays, stride=stride, pad=pad, group=group)
        self.channels[name] = outputs

    def norm(self, conv):
        c = (self.channels[conv],)
        factor = self.draw("factor", (1,))
        statistics = (self.draw("bias", c) * factor, self.draw("scale", c) * factor, factor)
        self.add(f"{conv}/bn", "BatchNorm", (conv,), conv, statistics)
        affine = (self.draw("scale", c), self.draw("bias", c))
        self.add(f"{conv}/bn/scale", "Scale", (conv,), conv, affine)

    def relu(self, name, top):
        self.add(name, "ReLU", (top,), top)

    def block(self, name, bottom, width, stride, family):
        """SE in a bottleneck: of conv2_1, say, where there was ``bottom``."""
        reduce, inner, outer = family.reduce * width, family.inner * width, 4 * width
        first, second = (stride, 1) if family.stride_on == "1x1_reduce" else (1, stride)
        self.conv(f"{name}_1x1_reduce", bottom, reduce, 1, first)
        self.norm(f"{name}_1x1_reduce")
        self.relu(f"{name}_1x1_reduce/relu", f"{name}_1x1_reduce")
        self.conv(f"{name}_3x3", f"{name}_1x1_reduce", inner, 3, second, family.groups)
        self.norm(f"{name}_3x3")
        self.relu(f"{name}_3x3/relu", f"{name}_3x3")
        self.conv(f"{name}_1x1_increase", f"{name}_3x3", outer, 1)
        self.norm(f"{name}_1x1_increase")
        squeezed = f"{name}_global_pool"
        self.add(squeezed, "GlobalPooling", (f"{name}_1x1_increase",), squeezed)
        self.channels[squeezed] = outer
        self.conv(f"{name}_1x1_down", squeezed, outer // 16, 1, bias=True)
        self.relu(f"{name}_1x1_down/relu", f"{name}_1x1_down")
        self.conv(f"{name}_1x1_up", f"{name}_1x1_down", outer, 1, bias=True)
        self.add(f"{name}_prob", "Sigmoid", (f"{name}_1x1_up",), f"{name}_1x1_up")
        shortcut = bottom
        if name.endswith("_1"):
            shortcut = f"{name}_1x1_proj"  # called so in SENet-154 too, where most are 3×3
            self.conv(shortcut, bottom, outer, 3 if family.deep and stride == 2 else 1, stride)
            self.norm(shortcut)
        bottoms = (f"{name}_1x1_up", f"{name}_1x1_increase", shortcut)
        self.add(name, "Axpy", bottoms, name)
        self.relu(f"{name}/relu", name)
        self.channels[name] = outer


def define(family, blocks, draw, widths=(64, 128, 256, 512), stem=64, classes=1000):
    """The layers of a network; ``stem`` is the width of its first convolution."""
    family, net = FAMILIES[family], Definition(draw)
    convs = [("conv1/7x7_s2", stem, 7, 2)]
    if family.deep:
        convs = [
            ("conv1_1/3x3_s2", stem, 3, 2),
            ("conv1_2/3x3", stem, 3, 1),
            ("conv1_3/3x3", 2 * stem, 3, 1),
        ]
    bottom = "data"
    for name, outputs, kernel, stride in convs:
        net.conv(name, bottom, outputs, kernel, stride)
        net.norm(name)
        net.relu(name.replace("/", "/relu_"), name)
        bottom = name
    net.add("pool1/3x3_s2", "MaxPooling", (bottom,), "pool1/3x3_s2")
    net.channels["pool1/3x3_s2"] = net.channels[bottom]
    bottom = "pool1/3x3_s2"
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), start=2):
        for i in range(1, count + 1):
            stride = 2 if stage > 2 and i == 1 else 1
            net.block(f"conv{stage}_{i}", bottom, width, stride, family)
            bottom = f"conv{stage}_{i}"
    net.add("pool5/7x7_s1", "AveragePooling", (bottom,), "pool5/7x7_s1")
    arrays = draw("weight", (classes, net.channels[bottom])), draw("bias", (classes,))
    net.add("classifier", "InnerProduct", ("pool5/7x7_s1",), "classifier", arrays)
    return net.layers


def random(seed):
    """Arrays that keep the maps of a network in bounds, and are all different."""
    rng = np.random.default_rng(seed)

    def draw(what, shape):
        if what == "factor":  # of the moving averages: 1 + 0.999 + 0.999² ..., at most 1000
            return np.full(shape, 999.98236, np.float32)
        if what == "scale":
            return rng.uniform(0.5, 1.5, shape).astype(np.float32)
        deviation = 0.1 if what == "bias" else np.prod(shape[1:]) ** -0.5
        if shape[1:2] == (3,):  # what sees the image, whose pixels deviate by 74
            deviation /= 74
        return np.float32(deviation) * rng.standard_normal(shape, dtype=np.float32)

    return draw


def blank(what, shape):
    """Arrays of a shape that take no memory."""
    return np.broadcast_to(np.float32(1), shape)


def run(layers, bgr):
    """The logits, as Caffe computes them, in float64, for images of BGR in 0 … 255."""
    maps = {"data": bgr.double() - torch.tensor(MEAN_BGR).view(3, 1, 1)}
    for layer in layers:
        arrays = [torch.tensor(array, dtype=torch.float64) for array in layer.arrays]
        maps[layer.top] = _FORWARD[layer.type](
            *[maps[bottom] for bottom in layer.bottoms], *arrays, **layer.options
        )
    return maps["classifier"]


def _convolution(x, weight, bias=None, *, stride, pad, group):
    return F.conv2d(x, weight, bias, stride, pad, groups=group)


def _batch_norm(x, mean, variance, factor):
    scale = 0 if factor == 0 else 1 / factor
    mean, variance = (value.view(-1, 1, 1) * scale for value in (mean, variance))
    return (x - mean) / (variance + 1e-5).sqrt()


def _max_pooling(x):
    """3×3 of stride 2: windows start at the corner, and the last may reach over the edge."""
    over = [2 * -(-(side - 3) // 2) + 3 - side for side in x.shape[2:]]
    return F.max_pool2d(F.pad(x, (0, over[1], 0, over[0]), value=-torch.inf), 3, 2)


_FORWARD = {
    "Convolution": _convolution,
    "BatchNorm": _batch_norm,
    "Scale": lambda x, scale, shift: x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1),
    "ReLU": lambda x: x.clamp(min=0),
    "Sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "MaxPooling": _max_pooling,
    "AveragePooling": lambda x: F.avg_pool2d(x, 7, 1),
    "GlobalPooling": lambda x: x.mean((2, 3), keepdim=True),
    "InnerProduct": lambda x, weight, bias: x.flatten(1) @ weight.T + bias,
    "Axpy": lambda scale, x, shortcut: scale * x + shortcut,
}


def encode(layers, form="current"):
    """The bytes of a ``.caffemodel`` with these layers.

    Forms: ``"current"``; ``"V1"``, of before 2015, where all arrays have four dimensions; and what
    the format allows too: ``"unpacked"`` numbers, one by one; and ``"double"`` ones.
    """
    of_net = 2 if form == "V1" else 100
    return _text(1, "a network") + b"".join(_piece(of_net, _layer(v, form)) for v in layers)


def _layer(layer, form):
    blobs = [_blob(array.astype(np.float32), form) for array in layer.arrays]
    if form == "V1":  # types are numbers there, and name and arrays have others
        parts = [_text(2, name) for name in layer.bottoms] + [_text(3, layer.top)]
        return b"".join(
            [*parts, _text(4, layer.name), _number(5, 4), *(_piece(6, b) for b in blobs)]
        )
    parts = [_text(1, layer.name), _text(2, layer.type)]
    parts += [_text(3, name) for name in layer.bottoms] + [_text(4, layer.top)]
    parts += [_key(5, 5) + np.float32(1).tobytes()]  # loss_weight
    parts += [_piece(7, blob) for blob in blobs]
    parts += [_number(10, 1), _piece(106, _number(1, 64) + _piece(4, _varint(3)))]  # phase, params
    return b"".join(parts)


def _blob(array, form):
    if form == "V1":
        sides = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(_number(i, side) for i, side in enumerate(sides, start=1))
        return shape + _piece(5, array.tobytes())
    if form == "unpacked":
        shape = b"".join(_number(1, side) for side in array.shape)
        numbers = b"".join(_key(5, 5) + number.tobytes() for number in array.flat)
        return numbers + _piece(7, shape)
    shape = _piece(1, b"".join(map(_varint, array.shape)))
    if form == "double":
        return _piece(8, array.astype(np.float64).tobytes()) + _piece(7, shape)
    return _piece(5, array.tobytes()) + _piece(7, shape)


def _varint(number):
    data = b""
    while number > 127:
        data, number = data + bytes([number & 127 | 128]), number >> 7
    return data + bytes([number])


def _key(number, kind):
    return _varint(number << 3 | kind)


def _number(number, value):
    return _key(number, 0) + _varint(value)


def _piece(number, data):
    return _key(number, 2) + _varint(len(data)) + data


def _text(number, text):
    return _piece(number, text.encode())


def without(layers, name):
    return [layer for layer in layers if layer.name != name]


def changed(layers, name, **changes):
    return [replace(v, **changes) if v.name == name else v for v in layers]
