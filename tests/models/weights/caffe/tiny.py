"""The part of Caffe that the authors' networks need: their definitions, arithmetic and files.

It is written from the prototxt files of https://github.com/hujie-frank/SENet, and independent of
what is tested with it.
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
        draw: a function that makes an array from what it is and its shape.
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

    def excitation(self, name, map):
        """Add the gates of ``map``, as ``{name}_1x1_up``."""
        self.pool(f"{name}_global_pool", map, "GlobalPooling")
        channels = self.channels[map]
        self.conv(f"{name}_1x1_down", f"{name}_global_pool", channels // 16, 1, bias=True)
        self.relu(f"{name}_1x1_down/relu", f"{name}_1x1_down")
        self.conv(f"{name}_1x1_up", f"{name}_1x1_down", channels, 1, bias=True)
        self.add(f"{name}_prob", "Sigmoid", (f"{name}_1x1_up",), f"{name}_1x1_up")

    def block(self, name, bottom, width, stride, family):
        """Add a bottleneck with SE after ``bottom``, named ``conv2_1``, say."""
        first, second = (stride, 1) if family.stride_on == "1x1_reduce" else (1, stride)
        reduced = self.conv_norm_relu(f"{name}_1x1_reduce", bottom, family.reduce * width, 1, first)
        inner = f"{name}_3x3"
        self.conv(inner, reduced, family.inner * width, 3, second, family.groups)
        self.norm(inner)
        self.relu(f"{inner}/relu", inner)
        outer = f"{name}_1x1_increase"
        self.conv(outer, inner, 4 * width, 1)
        self.norm(outer)
        self.excitation(name, outer)
        shortcut = bottom
        if name.endswith("_1"):
            shortcut = f"{name}_1x1_proj"  # also in SENet-154, where most are 3×3
            kernel = 3 if family.deep and stride == 2 else 1
            self.conv(shortcut, bottom, 4 * width, kernel, stride)
            self.norm(shortcut)
        self.add(name, "Axpy", (f"{name}_1x1_up", outer, shortcut), name)
        self.relu(f"{name}/relu", name)
        self.channels[name] = 4 * width
        return name

    def pool(self, name, bottom, kind, **options):
        self.add(name, kind, (bottom,), name, **options)
        self.channels[name] = self.channels[bottom]

    def conv_norm_relu(self, name, bottom, outputs, kernel=1, stride=1):
        self.conv(name, bottom, outputs, kernel, stride)
        self.norm(name)
        self.relu(f"{name}/relu", name)
        return name

    def module(self, name, bottom, one, three, double, pool, average=True):
        """Add an Inception module with SE after it; without ``pool`` it halves the map."""
        stride = 1 if pool else 2
        made = [self.conv_norm_relu(f"{name}/1x1", bottom, one)] if one else []
        reduced = self.conv_norm_relu(f"{name}/3x3_reduce", bottom, three[0])
        made += [self.conv_norm_relu(f"{name}/3x3", reduced, three[1], 3, stride)]
        reduced = self.conv_norm_relu(f"{name}/double3x3_reduce", bottom, double[0])
        first = self.conv_norm_relu(f"{name}/double3x3a", reduced, double[1], 3)
        made += [self.conv_norm_relu(f"{name}/double3x3b", first, double[1], 3, stride)]
        if pool:
            kind = "AveragePooling" if average else "MaxPooling"
            self.pool(f"{name}/pool", bottom, kind, kernel=3, stride=1, pad=1)
            made += [self.conv_norm_relu(f"{name}/pool_proj", f"{name}/pool", pool)]
        else:
            self.pool(f"{name}/pool/3x3_s2", bottom, "MaxPooling", kernel=3, stride=2)
            made += [f"{name}/pool/3x3_s2"]
        whole = f"{name}/concat"
        self.add(whole, "Concat", tuple(made), whole)
        self.channels[whole] = sum(self.channels[part] for part in made)
        self.excitation(name, whole)
        self.add(f"{name}_scale", "ChannelScale", (whole, f"{name}_1x1_up"), f"{name}/output")
        self.channels[f"{name}/output"] = self.channels[whole]
        return f"{name}/output"

    def head(self, bottom, classes):
        self.pool("pool5/7x7_s1", bottom, "AveragePooling", kernel=7, stride=1)
        shape = (classes, self.channels[bottom])
        arrays = self.draw("weight", shape), self.draw("bias", (classes,))
        self.add("classifier", "InnerProduct", ("pool5/7x7_s1",), "classifier", arrays)


def define(family, blocks, draw, widths=(64, 128, 256, 512), stem=64, classes=1000):
    """Return the layers of a residual network; ``stem`` is its first convolution's width."""
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
        bottom = net.conv_norm_relu(name, bottom, outputs, kernel, stride)
    net.pool("pool1/3x3_s2", bottom, "MaxPooling", kernel=3, stride=2)
    bottom = "pool1/3x3_s2"
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), start=2):
        for i in range(1, count + 1):
            stride = 2 if stage > 2 and i == 1 else 1
            bottom = net.block(f"conv{stage}_{i}", bottom, width, stride, family)
    net.head(bottom, classes)
    return net.layers


def define_inception(draw):
    """Return the layers of SE-BN-Inception."""
    net = Definition(draw)
    net.conv_norm_relu("conv1/7x7_s2", "data", 64, 7, 2)
    net.pool("pool1/3x3_s2", "conv1/7x7_s2", "MaxPooling", kernel=3, stride=2)
    net.conv_norm_relu("conv2/3x3_reduce", "pool1/3x3_s2", 64)
    net.conv_norm_relu("conv2/3x3", "conv2/3x3_reduce", 192, 3)
    net.pool("pool2/3x3_s2", "conv2/3x3", "MaxPooling", kernel=3, stride=2)
    at = net.module("inception_3a", "pool2/3x3_s2", 64, (64, 64), (64, 96), 32)
    at = net.module("inception_3b", at, 64, (64, 96), (64, 96), 64)
    at = net.module("inception_3c", at, 0, (128, 160), (64, 96), 0)
    at = net.module("inception_4a", at, 224, (64, 96), (96, 128), 128)
    at = net.module("inception_4b", at, 192, (96, 128), (96, 128), 128)
    at = net.module("inception_4c", at, 160, (128, 160), (128, 160), 128)
    at = net.module("inception_4d", at, 96, (128, 192), (160, 192), 128)
    at = net.module("inception_4e", at, 0, (128, 192), (192, 256), 0)
    at = net.module("inception_5a", at, 352, (192, 320), (160, 224), 128)
    at = net.module("inception_5b", at, 352, (192, 320), (192, 224), 128, average=False)
    net.head(at, 1000)
    return net.layers


def random(seed):
    """Return a function that draws arrays of random numbers."""
    rng = np.random.default_rng(seed)

    def draw(what, shape):
        if what == "factor":  # that of the moving averages: 1 + 0.999 + 0.999² ..., at most 1000
            return np.full(shape, 999.98236, np.float32)
        if what == "scale":
            return rng.uniform(0.5, 1.5, shape).astype(np.float32)
        deviation = 0.1 if what == "bias" else (2 / np.prod(shape[1:])) ** 0.5
        return np.float32(deviation) * rng.standard_normal(shape, dtype=np.float32)

    return draw


def blank(what, shape):
    """Return an array of this shape that takes no memory."""
    return np.broadcast_to(np.float32(1), shape)


def run(layers, bgr):
    """Return the logits as Caffe computes them, in float64, for BGR images in 0 … 255."""
    maps = {"data": _centred(bgr)}
    for layer in layers:
        maps[layer.top] = _forward(layer, maps)
    return maps["classifier"]


def trained(layers, bgr):
    """Return the same layers, whose batch norms have the statistics of these images.

    Training leaves them so; without that, the signal of the image fades from layer to layer.
    """
    maps, settled = {"data": _centred(bgr)}, []
    for layer in layers:
        if layer.type == "BatchNorm":
            factor = layer.arrays[2]
            variance, mean = torch.var_mean(maps[layer.bottoms[0]], (0, 2, 3))
            statistics = [value.numpy().astype(np.float32) * factor for value in (mean, variance)]
            layer = replace(layer, arrays=(*statistics, factor))
        settled.append(layer)
        maps[layer.top] = _forward(layer, maps)
    return settled


def _centred(bgr):
    return bgr.double() - torch.tensor(MEAN_BGR).view(3, 1, 1)


def _forward(layer, maps):
    arrays = [torch.tensor(array, dtype=torch.float64) for array in layer.arrays]
    bottoms = [maps[bottom] for bottom in layer.bottoms]
    return _FORWARD[layer.type](*bottoms, *arrays, **layer.options)


def _convolution(x, weight, bias=None, *, stride, pad, group):
    return F.conv2d(x, weight, bias, stride, pad, groups=group)


def _batch_norm(x, mean, variance, factor):
    scale = 0 if factor == 0 else 1 / factor
    mean, variance = (value.view(-1, 1, 1) * scale for value in (mean, variance))
    return (x - mean) / (variance + 1e-5).sqrt()


def _max_pooling(x, *, kernel, stride, pad=0):
    """Pool by windows from the padded map's corner on; the last may reach over the edge."""
    over = [-(side + 2 * pad - kernel) % stride for side in x.shape[2:]]
    x = F.pad(x, (pad, pad + over[1], pad, pad + over[0]), value=-torch.inf)
    return F.max_pool2d(x, kernel, stride)


_FORWARD = {
    "Convolution": _convolution,
    "BatchNorm": _batch_norm,
    "Scale": lambda x, scale, shift: x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1),
    "ReLU": lambda x: x.clamp(min=0),
    "Sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "MaxPooling": _max_pooling,
    "AveragePooling": lambda x, kernel, stride, pad=0: F.avg_pool2d(x, kernel, stride, pad),
    "GlobalPooling": lambda x: x.mean((2, 3), keepdim=True),
    "InnerProduct": lambda x, weight, bias: x.flatten(1) @ weight.T + bias,
    "Concat": lambda *maps: torch.cat(maps, 1),
    "ChannelScale": lambda x, scale: x * scale,  # named Scale there, after a Reshape
    "Axpy": lambda scale, x, shortcut: scale * x + shortcut,
}


def encode(layers, form="current"):
    """Return the bytes of a ``.caffemodel`` with these layers.

    Forms: ``"current"``; ``"V1"``, from before 2015, where all arrays have four dimensions; and,
    which the format also allows, ``"unpacked"`` numbers, one by one, and ``"double"`` ones.
    """
    of_net = 2 if form == "V1" else 100
    return _text(1, "a network") + b"".join(_piece(of_net, _layer(v, form)) for v in layers)


def _layer(layer, form):
    blobs = [_blob(array.astype(np.float32), form) for array in layer.arrays]
    if form == "V1":  # types are numbers there, and name and arrays have other field numbers
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
