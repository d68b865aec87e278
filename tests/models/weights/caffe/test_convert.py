"""The authors' networks, read from files that the tests write from the authors' definitions."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from senet.models import Architecture, create_model, from_pretrained
from senet.models.weights.caffe.convert import PREPROCESSING, from_caffe, recognise, translate
from senet.models.weights.caffe.file import read_caffemodel
from senet.models.weights.file import load_state
from senet.models.weights.ilsvrc import USUAL
from tests.models.weights.caffe.tiny import (
    Layer,
    blank,
    changed,
    define,
    define_inception,
    encode,
    random,
    run,
    trained,
    without,
)

pytestmark = pytest.mark.slow

SMALL = {"widths": (32, 32, 64, 64), "stem": 16}
# The authors' files, and what they must be recognised as.
PUBLISHED = {
    "SE-ResNet-50": ("SE-ResNet", (3, 4, 6, 3), "se_resnet50"),
    "SE-ResNet-101": ("SE-ResNet", (3, 4, 23, 3), "se_resnet101"),
    "SE-ResNet-152": ("SE-ResNet", (3, 8, 36, 3), "se_resnet152"),
    "SE-ResNeXt-50": ("SE-ResNeXt", (3, 4, 6, 3), "se_resnext50_32x4d"),
    "SE-ResNeXt-101": ("SE-ResNeXt", (3, 4, 23, 3), "se_resnext101_32x4d"),
    "SENet-154": ("SENet", (3, 8, 36, 3), "senet154"),
}
# Differences of the definitions from our defaults.
OPTIONS = {
    "SE-ResNet": {"stem_pool": "ceil", "stride_on": "1x1"},
    "SE-ResNeXt": {"stem_pool": "ceil"},
    "SENet": {},
}


def learnt(layers):
    return {layer.name: layer.arrays for layer in layers if layer.arrays}


def prepared(rgb, preprocessing=PREPROCESSING):
    """Return RGB images in 0 … 255, normalised."""
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (rgb.double() / 255 - mean) / std


def distance(logits, wanted):
    """Return the largest difference, relative to the largest logit.

    In float64 only the rounding of the statistics to float32 is left: some 1e-6.
    """
    return ((logits - wanted).abs().max() / wanted.abs().max()).item()


@pytest.fixture
def rgb():
    """Images with spots of all colours, more red than blue."""
    spots = torch.rand(2, 3, 9, 9) * torch.tensor([255, 200, 120]).view(3, 1, 1)
    return interpolate(spots, (224, 224), mode="bilinear").round()


@pytest.fixture(scope="module")
def small():
    return define("SE-ResNet", (1, 1, 1, 1), random(0), **SMALL, classes=7)


@pytest.fixture
def fitting():
    """The network whose weights are ``small``."""
    return small_model("se_resnet50", **OPTIONS["SE-ResNet"])


def small_model(name, **options):
    options = {"widths": SMALL["widths"], "layers": (1, 1, 1, 1), "stem_width": 16, **options}
    return create_model(name, num_classes=7, **options)


@pytest.mark.parametrize("published", ["SE-ResNet-50", "SE-ResNeXt-50", "SENet-154"])
def test_small_networks_compute_what_caffe_computes(published, rgb):
    family, _, name = PUBLISHED[published]
    options = {**OPTIONS[family], "stem_width": 32 if family == "SENet" else 16}
    layers = define(family, (2, 1, 1, 2), random(0), **SMALL, classes=7)
    layers = trained(layers, rgb.flip(1))
    model = small_model(name, layers=(2, 1, 1, 2), **options)
    load_state(model, translate(learnt(layers)))
    model.double().eval()
    wanted = run(layers, rgb.flip(1))
    with torch.inference_mode():
        assert distance(model(prepared(rgb)), wanted) < 1e-5
        # The difference if two colours were swapped.
        assert distance(model(prepared(rgb.flip(1))), wanted) > 1e-2


@pytest.mark.parametrize(
    ("name", "definition"),
    [
        ("se_resnet50", partial(define, "SE-ResNet", (3, 4, 6, 3))),
        ("se_bn_inception", define_inception),
    ],
)
def test_a_file_alone_makes_the_network(name, definition, rgb, tmp_path):
    rgb = rgb[:1]
    layers = trained(definition(random(0)), rgb.flip(1))
    path = tmp_path / "file.caffemodel"
    path.write_bytes(encode(layers))
    architecture, state, preprocessing = from_caffe(path)
    assert (architecture.name, preprocessing.size, preprocessing.crop) == (name, 224, 0.875)
    model = architecture.build()
    load_state(model, state, path)
    wanted = run(layers, rgb.flip(1))
    with torch.inference_mode():
        logits = model.double().eval()(prepared(rgb, preprocessing))
    assert distance(logits[:, list(USUAL)], wanted) < 1e-5
    assert distance(logits, wanted) > 1e-2  # in the original order of the classes


def test_weights_can_be_named_by_their_file(tmp_path):
    path = tmp_path / "SE-BN-Inception.caffemodel"
    path.write_bytes(encode(define_inception(random(0))))
    model = from_pretrained(path)
    assert (model.architecture.name, model.preprocessing) == ("se_bn_inception", PREPROCESSING)
    assert torch.equal(model.state_dict()["fc.bias"], from_caffe(path)[1]["fc.bias"])
    with pytest.warns(UserWarning, match="has 1000 classes, and 3 are wanted"):
        three = create_model("se_bn_inception", weights=path, num_classes=3)
    assert torch.equal(three.stage1.conv1.conv.weight, model.stage1.conv1.conv.weight)


@pytest.mark.parametrize("published", PUBLISHED)
def test_every_published_network_is_recognised_and_complete(published):
    family, blocks, name = PUBLISHED[published]
    layers = learnt(define(family, blocks, blank))
    architecture = recognise(layers)
    assert architecture == Architecture(name, 1000, 3, OPTIONS[family])
    with torch.device("meta"):
        own = architecture.build().state_dict()
    shapes = {key: value.shape for key, value in own.items() if "num_batches" not in key}
    assert {key: value.shape for key, value in translate(layers).items()} == shapes


def test_old_files_give_the_same_state(small, tmp_path):
    """Their arrays have four dimensions each; no published network has this form."""
    path = tmp_path / "old.caffemodel"
    path.write_bytes(encode(small, "V1"))
    state, wanted = translate(read_caffemodel(path)), translate(learnt(small))
    assert list(state) == list(wanted)
    assert all(torch.equal(state[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize(
    "layer", ["conv2_1_1x1_up", "conv4_1_3x3/bn", "conv1/7x7_s2", "classifier"]
)
def test_a_missing_layer_is_named(small, fitting, layer):
    ours = {
        "conv2_1_1x1_up": "layer1.0.se.fc2.weight, layer1.0.se.fc2.bias",
        "conv4_1_3x3/bn": "layer3.0.bn2.running_mean, layer3.0.bn2.running_var",
        "conv1/7x7_s2": "conv1.weight",
        "classifier": "fc.weight, fc.bias",
    }[layer]
    with pytest.raises(ValueError, match=f"missing: {ours}"):
        load_state(fitting, translate(learnt(without(small, layer))))


@pytest.mark.parametrize("name", ["conv6_1_3x3", "conv6_1_3x3/bn/scale", "conv2_1_5x5", "fc8"])
def test_a_layer_that_is_left_over_is_named(small, fitting, name):
    more = Layer(name, "Scale", ("x",), "x", (np.ones(3), np.ones(3)))
    with pytest.raises(ValueError, match=f"not of this network: {name}.weight, {name}.bias"):
        load_state(fitting, translate(learnt([*small, more])))


def test_a_layer_of_another_shape_is_named(small, fitting):
    other = changed(small, "conv3_1_1x1_proj", arrays=(np.ones((128, 64, 1, 1)),))
    with pytest.raises(ValueError, match=r"layer2.0.downsample.0.weight \(128, 64, 1, 1\), wanted"):
        load_state(fitting, translate(learnt(other)))


def test_a_layer_of_more_arrays_or_that_comes_twice_is_refused(small):
    with pytest.raises(ValueError, match="layer 'conv1/7x7_s2' has 3 arrays, wanted 1 or 2"):
        translate(learnt(changed(small, "conv1/7x7_s2", arrays=(np.ones(1),) * 3)))
    with pytest.raises(ValueError, match="layer 'conv1/7x7_s2/bn' has 2 arrays, wanted 3"):
        translate(learnt(changed(small, "conv1/7x7_s2/bn", arrays=(np.ones(1),) * 2)))
    twice = Layer("conv1_1/3x3_s2", "Convolution", ("x",), "x", (np.ones((16, 3, 3, 3)),))
    with pytest.raises(
        ValueError, match=r"two layers are conv1.weight, the second is 'conv1_1/3x3"
    ):
        translate(learnt([*small, twice]))


def test_another_network_is_refused_with_its_file(tmp_path):
    for name, layers in {
        "small": define("SE-ResNet", (1, 1, 1, 1), random(0), **SMALL, classes=7),
        "alexnet": [Layer("conv1", "Convolution", ("data",), "conv1", (np.ones((9, 3, 11, 11)),))],
    }.items():
        path = tmp_path / f"{name}.caffemodel"
        path.write_bytes(encode(layers))
        with pytest.raises(
            ValueError, match=rf"{name}.caffemodel: the layers are not of any .*senet154.*\)"
        ):
            from_caffe(path)


def test_a_network_without_its_classifier_is_refused():
    layers = without(define("SE-ResNet", (3, 4, 6, 3), blank), "classifier")
    with pytest.raises(ValueError, match="and there is no classifier"):
        recognise(learnt(layers))


def test_statistics_of_nothing_are_zero_as_in_caffe(small, fitting, rgb):
    arrays = (np.ones(16, np.float32), np.ones(16, np.float32), np.zeros(1, np.float32))
    layers = changed(small, "conv1/7x7_s2/bn", arrays=arrays)
    state = translate(learnt(layers))
    assert not state["bn1.running_mean"].any()
    assert not state["bn1.running_var"].any()
    load_state(fitting, state)
    with torch.inference_mode():
        logits = fitting.double().eval()(prepared(rgb))
    assert distance(logits, run(layers, rgb.flip(1))) < 1e-5
