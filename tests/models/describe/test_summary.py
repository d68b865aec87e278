import re

import pytest
from torch import nn

from senet.models import Architecture, create_model, entry
from senet.models.describe.summary import summarise
from senet.models.families.inception import Conv, InceptionNetwork
from senet.nn import ChannelAttention
from tests.models.agreement import shapes_of

pytestmark = pytest.mark.slow

# Table 1 of the paper (arXiv 1709.01507v4): output size, the layers in brackets, and how often.
CONV1 = ((112, 112), ("conv, 7×7, 64, stride 2",))
POOL = ("max pool, 3×3, stride 2",)
HEAD = ((1, 1), ("global average pool\n1000-d fc, softmax",))
TABLE_1 = {
    "resnet50": [
        ((56, 56), ("conv, 1×1, 64", "conv, 3×3, 64", "conv, 1×1, 256"), 3),
        ((28, 28), ("conv, 1×1, 128", "conv, 3×3, 128", "conv, 1×1, 512"), 4),
        ((14, 14), ("conv, 1×1, 256", "conv, 3×3, 256", "conv, 1×1, 1024"), 6),
        ((7, 7), ("conv, 1×1, 512", "conv, 3×3, 512", "conv, 1×1, 2048"), 3),
    ],
    "se_resnet50": [
        ((56, 56), ("conv, 1×1, 64", "conv, 3×3, 64", "conv, 1×1, 256", "fc, [16, 256]"), 3),
        ((28, 28), ("conv, 1×1, 128", "conv, 3×3, 128", "conv, 1×1, 512", "fc, [32, 512]"), 4),
        ((14, 14), ("conv, 1×1, 256", "conv, 3×3, 256", "conv, 1×1, 1024", "fc, [64, 1024]"), 6),
        ((7, 7), ("conv, 1×1, 512", "conv, 3×3, 512", "conv, 1×1, 2048", "fc, [128, 2048]"), 3),
    ],
    "se_resnext50_32x4d": [
        (
            (56, 56),
            ("conv, 1×1, 128", "conv, 3×3, 128, C = 32", "conv, 1×1, 256", "fc, [16, 256]"),
            3,
        ),
        (
            (28, 28),
            ("conv, 1×1, 256", "conv, 3×3, 256, C = 32", "conv, 1×1, 512", "fc, [32, 512]"),
            4,
        ),
        (
            (14, 14),
            ("conv, 1×1, 512", "conv, 3×3, 512, C = 32", "conv, 1×1, 1024", "fc, [64, 1024]"),
            6,
        ),
        (
            (7, 7),
            ("conv, 1×1, 1024", "conv, 3×3, 1024, C = 32", "conv, 1×1, 2048", "fc, [128, 2048]"),
            3,
        ),
    ],
}


@pytest.mark.parametrize("name", TABLE_1)
def test_the_rows_are_those_of_table_1(name):
    stem, *stages, head = summarise(shapes_of(name), (3, 224, 224)).stages
    assert (stem.output, stem.opening, stem.blocks) == (*CONV1, ())
    assert (head.output, head.opening, head.blocks) == (*HEAD, ())
    assert [s.name for s in stages] == ["conv2_x", "conv3_x", "conv4_x", "conv5_x"]
    assert [s.opening for s in stages] == [POOL, (), (), ()]
    found = [(s.output, b.layers, b.repeats) for s in stages for b in s.blocks]
    assert found == TABLE_1[name]


def rows(name, size=32, **options):
    model = shapes_of(name, **options)
    summary = summarise(model, (model.architecture.in_channels, size, size))
    return [(s.output, b.layers, b.repeats) for s in summary.stages for b in s.blocks]


def test_basic_blocks():
    assert rows("se_resnet20_cifar") == [
        ((32, 32), ("conv, 3×3, 16", "conv, 3×3, 16", "fc, [1, 16]"), 3),
        ((16, 16), ("conv, 3×3, 32", "conv, 3×3, 32", "fc, [2, 32]"), 3),
        ((8, 8), ("conv, 3×3, 64", "conv, 3×3, 64", "fc, [4, 64]"), 3),
    ]


def test_preactivation_and_wide_blocks():
    assert rows("resnet164_cifar")[0] == (
        (32, 32),
        ("conv, 1×1, 16", "conv, 3×3, 16", "conv, 1×1, 64"),
        18,
    )
    assert rows("se_wide_resnet16_8_cifar")[-1] == (
        (8, 8),
        ("conv, 3×3, 512", "conv, 3×3, 512", "fc, [32, 512]"),
        2,
    )


def test_what_is_not_as_in_the_paper_is_said():
    options = {"reduction": 4, "squeeze": "max", "gate": "tanh"}
    first = rows("se_resnet8_cifar", in_channels=1, size=28, **options)[0]
    assert first[1][-1] == "fc, [4, 16], squeeze max, gate tanh"


@pytest.mark.parametrize(
    ("name", "depth"),
    [("resnet34", 34), ("se_resnet18", 18), ("se_resnet56_cifar", 56), ("resnet164_cifar", 164)],
)
def test_the_layers_are_as_many_as_the_name_says(name, depth):
    side = entry(name).preprocessing.size
    summary = summarise(shapes_of(name), (3, side, side))
    layers = [words for s in summary.stages for b in s.blocks for words in b.layers * b.repeats]
    assert sum(words.startswith("conv") for words in layers) + 2 == depth  # and stem and head
    assert (summary.parameters[1] > 0) == name.startswith("se_")
    assert (summary.multiply_adds[1] > 0) == name.startswith("se_")


# ---------------------------------------------------------------------------- other families


def stages(name, **options):
    """The rows by their names, at the size that is usual for the network."""
    side = entry(name).preprocessing.size
    summary = summarise(shapes_of(name, **options), (3, side, side))
    return {stage.name: stage for stage in summary.stages}


def test_branches_have_a_line_each():
    conv3 = stages("se_bn_inception")["conv3_x"]
    assert (conv3.module, conv3.output) == ("stage3", (28, 28))
    assert conv3.blocks[0].layers == ("max pool, 3×3, stride 2",)
    assert conv3.blocks[1].layers == (
        "├ 1×1, 64",
        "├ 1×1, 64 → 3×3, 64",
        "├ 1×1, 64 → 3×3, 96 → 3×3, 96",
        "├ average pool, 3×3 → 1×1, 32",
        "fc, [16, 256]",
    )


def test_branches_that_fork_again_are_told_apart_and_equal_modules_counted():
    fork = stages("inception_v3")["conv5_x"].blocks[1]
    assert fork.layers == (
        "├ 1×1, 320",
        "├ 1×1, 384 → 1×3, 384 | 3×1, 384",
        "├ 1×1, 448 → 3×3, 384 → 1×3, 384 | 3×1, 384",
        "├ average pool, 3×3 → 1×1, 192",
    )
    assert fork.repeats == 2


def test_layers_of_one_prong_follow_each_other():
    fork = {"long": [Conv(4), Conv(6, 3)], "short": [Conv(2)]}
    body = {"a": {"1x1": [Conv(3)], "fork": [Conv(8), fork]}}
    table = [{"conv": Conv(8, 3)}, body, *[{"conv": Conv(8)}] * 3]
    model = InceptionNetwork(table, 1e-3, 10, 3, 0.0, None)
    model.architecture = Architecture("forked", 10, 3)
    (block,) = summarise(model, (3, 16, 16)).stages[1].blocks
    assert block.layers == ("├ 1×1, 3", "├ 1×1, 8 → 1×1, 4 → 3×3, 6 | 1×1, 2")


def test_what_follows_the_branches_of_a_block_has_a_line_of_its_own():
    blocks = stages("se_inception_resnet_v2")["conv5_x"].blocks
    assert [block.repeats for block in blocks] == [1, 10, 1]
    assert blocks[1].layers == (
        "├ 1×1, 192",
        "├ 1×1, 192 → 1×3, 224 → 3×1, 256",
        "conv, 1×1, 2080",
        "fc, [130, 2080]",
    )


def test_two_residual_branches_stand_side_by_side():
    (block,) = stages("se_shake_shake_26_2x96d")["conv2_x"].blocks
    assert block.layers == ("├ 3×3, 96 → 3×3, 96 → fc, [6, 96]",) * 2


@pytest.mark.parametrize("placement", ["pre", "post", "identity", "3x3"])
def test_attention_beside_a_branch_is_not_a_branch(placement):
    layers = [
        layer for _, layers, _ in rows("se_resnet8_cifar", placement=placement) for layer in layers
    ]
    assert not any("├" in layer for layer in layers)
    assert sum(layer.startswith("fc") for layer in layers) == 3


def test_a_stem_of_several_layers_and_a_head_of_several():
    found = stages("se_vgg16_bn")
    assert list(found) == [
        "conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x", "fc6", "fc7", "fc",
    ]  # fmt: skip
    (conv1,) = found["conv1"].blocks
    assert (conv1.layers, conv1.repeats) == (("conv, 3×3, 64", "fc, [4, 64]"), 2)
    assert found["conv2_x"].blocks[0].layers == ("max pool, 2×2, stride 2",)
    assert found["fc6"].opening == ("max pool, 2×2, stride 2", "4096-d fc")
    assert found["fc"].opening == ("1000-d fc, softmax",)
    stem = stages("inception_v3")["conv1"]
    assert stem.module == "stage1"
    assert [block.layers for block in stem.blocks] == [
        ("conv, 3×3, 32, stride 2",), ("conv, 3×3, 32",), ("conv, 3×3, 64",),
    ]  # fmt: skip


def test_the_pooling_is_said_before_the_first_layer_that_takes_pooled_features():
    found = stages("mobilenet_v3_small")
    assert list(found)[-3:] == ["head", "hidden", "fc"]
    assert found["hidden"].opening == ("global average pool\n1024-d fc",)
    assert found["fc"].opening == ("1000-d fc, softmax",)


def test_layers_are_in_the_order_in_which_they_run():
    block = stages("mobilenet_v3_large")["conv3_x"].blocks[-1]
    assert block.layers == (
        "conv, 1×1, 120",
        "conv, 5×5, 120, depthwise",
        "fc, [32, 120], gate hardsigmoid",
        "conv, 1×1, 40",
    )
    assert block.repeats == 2


def test_other_attention_is_called_by_its_class():
    found = rows("resnet8_cifar", attention="scse")[0][1]
    assert found == ("conv, 3×3, 16", "conv, 3×3, 16", "ConcurrentSqueezeExcitation")


@pytest.mark.parametrize(
    "name",
    [
        "se_resnet18", "se_bn_inception", "inception_v3", "inception_resnet_v2", "se_vgg16_bn",
        "se_mobilenet", "shufflenet_g3", "se_densenet121", "shake_even_29_2x4x64d",
        "efficientnet_b0", "regnety_016",
    ],
)  # fmt: skip
def test_no_convolution_is_forgotten_or_said_twice(name):
    model = shapes_of(name)
    attention = {p for m in model.modules() if isinstance(m, ChannelAttention) for p in m.modules()}
    wanted = sorted(
        module.out_channels
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module not in attention and "downsample" not in path
    )
    found = []
    for stage in stages(name).values():
        lines = [(line, 1) for line in stage.opening]
        lines += [(line, block.repeats) for block in stage.blocks for line in block.layers]
        for line, repeats in lines:
            found += [int(n) for n in re.findall(r"\d×\d, (\d+)", line)] * repeats
    assert sorted(found) == wanted


def test_the_model_is_left_as_it_was():
    model = create_model("se_resnet8_cifar").train()
    summarise(model, (3, 32, 32))
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.device.type == "cpu" for p in model.parameters())


def test_images_that_do_not_fit_are_refused():
    model = create_model("se_resnet8_cifar")
    with pytest.raises(ValueError, match="takes images of 3 channels"):
        summarise(model, (1, 32, 32))
    small = create_model("resnet18", stem_pool="ceil")
    with pytest.raises(ValueError, match="images of 1×1 are too small"):
        summarise(small, (3, 1, 1))
