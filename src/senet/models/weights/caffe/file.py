"""The reader of ``.caffemodel`` files: the learnt arrays of every layer, and nothing else.

Such a file is one ``NetParameter`` of caffe.proto in the encoding of protocol buffers
(https://protobuf.dev/programming-guides/encoding/): a field is a number that says which it is and
how long, then its bytes. Of the hundreds of fields a dozen matter here, so that reading them takes
less code than describing them to a library. The arrays stay in the file until they are used.
"""

from __future__ import annotations

import math
import mmap
import os
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

Layers = dict[str, tuple[np.ndarray, ...]]
"""The arrays of each layer that has any, in their order, by the layer's name."""

# The number of the field of layers in NetParameter, and those of name and arrays in a layer: today,
# and before 2015 (V1LayerParameter).
_LAYERS = ((100, 1, 7), (2, 4, 6))
# BlobProto: the numbers, and their shape (a message of one field), once four fields.
_FLOATS, _DOUBLES, _SHAPE, _OLD_SHAPE = 5, 8, 7, (1, 2, 3, 4)
_DIMENSIONS = 1


def read_caffemodel(path: str | os.PathLike[str]) -> Layers:
    r"""Return the learnt arrays of a ``.caffemodel`` file.

    Args:
        path: path of a file that Caffe saved. Nothing in it is ever run.

    Returns:
        The arrays of each layer that learns: float32 or float64, read-only views of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such a file, or is damaged.

    Example:
        >>> import tempfile
        >>> blob = b"\x2a\x04" + np.float32(0.5).tobytes() + b"\x3a\x03\x0a\x01\x01"  # data, shape
        >>> layer = b"\x0a\x03fc6" + b"\x3a\x0b" + blob  # its name, and its only array
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     _ = file.write(b"\xa2\x06\x12" + layer)
        ...     file.flush()
        ...     read_caffemodel(file.name)
        {'fc6': (array([0.5], dtype=float32),)}
    """
    with open(path, "rb") as file:
        try:
            layers = _layers(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
        except ValueError as error:
            raise ValueError(f"{path} is not a .caffemodel file, or is damaged: {error}") from error
    return layers


def _layers(message: memoryview) -> Layers:
    net, layers = _fields(message), {}
    for of_net, of_name, of_arrays in _LAYERS:
        for layer in map(_fields, net[of_net]):
            name = str(_join(layer[of_name]), "utf-8")
            arrays = tuple(_array(_fields(blob)) for blob in layer[of_arrays])
            if arrays and name in layers:
                raise ValueError(f"two layers are called {name!r}")
            if arrays:
                layers[name] = arrays
    if not layers:
        raise ValueError("no layer in it has learnt anything")
    return layers


def _array(blob: dict[int, list[memoryview]]) -> np.ndarray:
    if blob[_DOUBLES]:
        data = np.frombuffer(_join(blob[_DOUBLES]), "<f8")
    else:
        data = np.frombuffer(_join(blob[_FLOATS]), "<f4")
    if blob[_SHAPE]:
        dimensions = _fields(_join(blob[_SHAPE]))[_DIMENSIONS]
    else:
        dimensions = [piece for number in _OLD_SHAPE for piece in blob[number]]
    shape = tuple(_varints(_join(dimensions)))
    if math.prod(shape) != data.size:
        raise ValueError(f"an array of shape {shape} has {data.size} numbers")
    return data.reshape(shape)


def _fields(message: memoryview) -> dict[int, list[memoryview]]:
    """Return the bytes of every field of a message, by the field's number.

    A field may occur several times. A list of numbers comes in one piece or number by number: the
    joined bytes are the same.
    """
    fields: dict[int, list[memoryview]] = defaultdict(list)
    at = 0
    while at < len(message):
        key, start = _varint(message, at)
        match key & 7:
            case 0:
                end = _varint(message, start)[1]
            case 1:
                end = start + 8
            case 2:
                size, start = _varint(message, start)
                end = start + size
            case 5:
                end = start + 4
            case kind:
                raise ValueError(f"there is no field of type {kind}")
        if end > len(message):
            raise ValueError("it ends in the middle of a field")
        fields[key >> 3].append(message[start:end])
        at = end
    return fields


def _join(pieces: list[memoryview]) -> memoryview:
    return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        number, at = _varint(data, at)
        yield number


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at ``at``, and where it ends.

    A byte has seven bits of it, the low ones first; all bytes but the last have their highest bit
    set.
    """
    number = 0
    for shift in range(0, 70, 7):
        if at == len(data):
            raise ValueError("it ends in the middle of a number")
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise ValueError("a number has more than 64 bits")
