"""The reader of Caffe's files, on files that the tests write, and on Google's own encoding."""

import io
import mmap

import numpy as np
import pytest
import torch
from safetensors.torch import save

from senet.models.weights.caffe.file import read_caffemodel
from tests.models.weights.caffe.tiny import Layer, encode

RNG = np.random.default_rng(0)
LAYERS = [
    Layer("data", "Input", (), "data"),
    Layer("conv1/7x7_s2", "Convolution", ("data",), "c", (RNG.random((200, 3, 2, 2), np.float32),)),
    Layer("relu", "ReLU", ("c",), "c"),
    Layer(
        "fc",
        "InnerProduct",
        ("c",),
        "fc",
        (RNG.random((5, 7), np.float32), RNG.random(5, np.float32)),
    ),
]


@pytest.fixture
def write(tmp_path):
    def write(data):
        path = tmp_path / "net.caffemodel"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("form", ["current", "V1", "unpacked", "double"])
def test_every_array_comes_back_in_every_form(write, form):
    layers = read_caffemodel(write(encode(LAYERS, form)))
    assert list(layers) == ["conv1/7x7_s2", "fc"]
    wanted = [array for layer in LAYERS for array in layer.arrays]
    found = [array for arrays in layers.values() for array in arrays]
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == (np.float64 if form == "double" else np.float32)
        assert a.shape == ((1,) * (4 - b.ndim) + b.shape if form == "V1" else b.shape)
        assert np.array_equal(a.reshape(b.shape), b)


def test_arrays_are_views_of_the_file(write):
    for arrays in read_caffemodel(write(encode(LAYERS))).values():
        for base in arrays:
            while isinstance(base, np.ndarray):
                base = base.base
            assert isinstance(base.obj, mmap.mmap)


def test_what_googles_library_writes_is_read(write):
    """The fields as caffe.proto declares them, written by the library that Caffe writes with."""
    pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields):
        added = file.message_type.add(name=name)
        for number, label, repeated, kind in fields:
            made = added.field.add(name=label, number=number)
            made.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if isinstance(kind, str):
                made.type, made.type_name = kinds.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                made.type = kind
                made.options.packed = kind in (kinds.TYPE_FLOAT, kinds.TYPE_INT64)

    message("BlobShape", (1, "dim", True, kinds.TYPE_INT64))
    message("BlobProto", (5, "data", True, kinds.TYPE_FLOAT), (7, "shape", False, "BlobShape"))
    message(
        "LayerParameter", (1, "name", False, kinds.TYPE_STRING), (7, "blobs", True, "BlobProto")
    )
    message("NetParameter", (100, "layer", True, "LayerParameter"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    net = message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))()
    for layer in LAYERS:
        added = net.layer.add(name=layer.name)
        for array in layer.arrays:
            blob = added.blobs.add(data=array.ravel().tolist())
            blob.shape.dim.extend(array.shape)
    layers = read_caffemodel(write(net.SerializeToString()))
    assert np.array_equal(layers["conv1/7x7_s2"][0], LAYERS[1].arrays[0])
    assert np.array_equal(layers["fc"][0], LAYERS[3].arrays[0])


def test_a_file_that_ends_early_is_refused_wherever_it_ends(write):
    whole = encode(LAYERS[1:2])
    layer = encode([])  # what stands before the only layer: a file of this much has none
    for end in {*range(len(layer) + 60), *range(len(whole) - 40, len(whole)), len(whole) // 2}:
        with pytest.raises(
            ValueError, match=r"net.caffemodel is not a .caffemodel file, or is dam"
        ):
            read_caffemodel(write(whole[:end]))
    assert read_caffemodel(write(whole))


def _pickle():
    torch.save({"w": torch.zeros(3)}, file := io.BytesIO())
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'name: "SE-ResNet-50"\nlayer {\n  name: "data"\n}\n',
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        _pickle(),
        save({"w": torch.zeros(3)}),
        b"\xff" * 100,
    ],
    ids=["empty", "prototxt", "png", "pickle", "safetensors", "ones"],
)
def test_other_files_are_refused(write, data):
    with pytest.raises(
        ValueError, match=r"net.caffemodel is not a .caffemodel file, or is damaged"
    ):
        read_caffemodel(write(data))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.caffemodel"):
        read_caffemodel(tmp_path / "none.caffemodel")


def test_what_contradicts_itself_is_refused(write):
    with pytest.raises(ValueError, match=r"two layers are called 'fc'"):
        read_caffemodel(write(encode([*LAYERS, LAYERS[3]])))
    data = encode(LAYERS)
    at = data.rindex(b"\x0a\x01\x05")  # the shape of the last array: (5,)
    with pytest.raises(ValueError, match=r"an array of shape \(6,\) has 5 numbers"):
        read_caffemodel(write(data[:at] + b"\x0a\x01\x06" + data[at + 3 :]))
