"""Kinds of attention, stages and placements, in the networks."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet.models import create_model, entry, list_models
from senet.models.attention import KINDS, attend, options_of
from senet.models.describe.cost import multiply_adds, parameters
from senet.models.families.residual import (
    PLACEMENTS,
    BasicBlock,
    Bottleneck,
    Design,
    PreactBasicBlock,
    PreactBottleneck,
    Residual,
    Step,
)
from senet.models.weights.file import load_model, save_model
from senet.models.weights.record import Record
from senet.nn import ChannelAttention, EfficientChannelAttention, SqueezeExcitation
from tests.models.test_world import agree, scramble

# Blocks per stage of ResNet-50, and the channels of the feature maps that attention takes.
STAGES = ((3, 256), (4, 512), (6, 1024), (3, 2048))


def of_resnet50(each) -> int:
    return sum(blocks * each(channels) for blocks, channels in STAGES)


def attention_of(model: nn.Module) -> dict[str, ChannelAttention]:
    return {name: m for name, m in model.named_modules() if isinstance(m, ChannelAttention)}


@pytest.mark.parametrize(
    ("kind", "own", "adds"),
    [
        (None, 0, 0),
        ("se", of_resnet50(lambda c: c * c // 8 + c // 16 + c), of_resnet50(lambda c: c * c // 8)),
        # k = 5 weights up to 1024 channels, then 7; 13 · 5 + 3 · 7.
        ("eca", 86, of_resnet50(lambda c: c * (5 if c < 2048 else 7))),
        ("ese", of_resnet50(lambda c: c * c + c), of_resnet50(lambda c: c * c)),
        ("ge", 0, 0),
    ],
)
def test_each_kind_has_its_parameters_and_multiply_adds(kind, own, adds):
    with torch.device("meta"):
        plain, model = create_model("resnet50"), create_model("resnet50", attention=kind)
    assert parameters(model) == (25_557_032 + own, own)
    total = multiply_adds(plain, (3, 64, 64))[0]
    assert multiply_adds(model, (3, 64, 64)) == (total + adds, adds)
    assert len(attention_of(model)) == (16 if kind else 0)


def test_scse_is_se_and_one_number_a_position():
    with torch.device("meta"):
        se, scse = (create_model("resnet50", attention=kind) for kind in ("se", "scse"))
    assert parameters(scse)[1] - parameters(se)[1] == of_resnet50(lambda c: c + 1)
    positions = {256: 16 * 16, 512: 8 * 8, 1024: 4 * 4, 2048: 2 * 2}  # of an image of 64 by 64
    more = multiply_adds(scse, (3, 64, 64))[1] - multiply_adds(se, (3, 64, 64))[1]
    assert more == of_resnet50(lambda c: c * positions[c])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["resnet8_cifar", "se_resnet8_cifar", "wide_resnet16_8_cifar"])
def test_a_network_of_every_kind_differs_from_plain_in_its_blocks_alone(name, kind):
    torch.manual_seed(3)
    model = create_model(name, attention=kind)
    torch.manual_seed(3)
    plain = create_model(entry(name).plain or name)
    state, wanted = model.state_dict(), plain.state_dict()
    assert {k for k in state if ".se." not in k} == set(wanted)
    for key, value in wanted.items():
        assert torch.equal(value, state[key]), key
    assert all(type(m) is not SqueezeExcitation or kind == "se" for m in model.modules())


@pytest.mark.parametrize("name", [n for n in list_models() if entry(n).has_se])
def test_every_family_takes_another_kind_wherever_it_has_se(name):
    with torch.device("meta"):
        se, eca = create_model(name), create_model(name, attention="eca")
    assert list(attention_of(eca)) == list(attention_of(se))
    assert {type(block) for block in attention_of(eca).values()} == {EfficientChannelAttention}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_network_of_every_kind_runs_forward_and_backward(kind, training):
    model = create_model("resnet8_cifar", attention=kind).train(training)
    logits = model(torch.randn(4, 3, 32, 32))
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    for block in attention_of(model).values():
        assert kind == "ge" or any(p.grad.any() for p in block.parameters())


def test_options_of_a_kind_reach_its_blocks():
    def blocks(**options):
        return attention_of(create_model("resnet8_cifar", **options)).values()

    assert [b.conv.kernel_size for b in blocks(attention="eca", kernel_size=5)] == [(5,)] * 3
    assert [b.conv.kernel_size for b in blocks(attention="eca", kernel_size=(3, 5, 7))] == [
        (3,), (5,), (7,),
    ]  # fmt: skip
    assert [b.extent for b in blocks(attention="ge", extent=(8, 4, None))] == [8, 4, None]
    assert {b.combine for b in blocks(attention="scse", combine="max")} == {"max"}
    assert [b.fc1.out_channels for b in blocks(attention="scse", reduction=(2, 4, 8))] == [8, 8, 8]
    assert [b.fc1.out_channels for b in blocks(attention="se", reduction=(2, 4, 8))] == [8, 8, 8]


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_in_the_stages_that_are_named(kind):
    def stages(chosen):
        model = create_model("resnet18", attention=kind, se_stages=chosen)
        return sorted({name.split(".")[0] for name in attention_of(model)})

    with torch.device("meta"):
        assert stages(None) == ["layer1", "layer2", "layer3", "layer4"]
        assert stages((3, 4)) == ["layer2", "layer3"]
        assert stages(5) == ["layer4"]


def test_one_stage_only_has_the_parameters_of_that_stage():
    for stage, (blocks, channels) in enumerate(STAGES, start=2):
        with torch.device("meta"):
            model = create_model("se_resnet50", se_stages=stage, se_bias=False)
        assert parameters(model)[1] == blocks * channels**2 // 8


def test_a_file_of_weights_remembers_the_attention(tmp_path):
    model = create_model(
        "resnet8_cifar", attention="ge", extent=(4, 2, None), se_stages=(2, 3), num_classes=2
    ).eval()
    record = Record(model.architecture, entry("resnet8_cifar").preprocessing, ("a", "b"))
    save_model(tmp_path / "model.safetensors", model, record)
    again, _ = load_model(tmp_path / "model.safetensors")
    x = torch.randn(2, 3, 32, 32)
    assert [b.extent for b in attention_of(again).values()] == [4, 2]
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize(
    ("kind", "options", "layer"),
    [
        ("eca", {}, "EcaModule"),
        ("ese", {}, "EffectiveSEModule"),
        ("ge", {}, "GatherExcite"),
        ("ge", {"extent": 4}, "GatherExcite"),
    ],
)
def test_real_timm_has_the_same_networks(world, kind, options, layer):
    block = getattr(world.timm.layers, layer)
    if kind == "ge":
        block = partial(block, use_mlp=False, **options)
    theirs = scramble(world.timm.create_model("resnet18", block_args={"attn_layer": block}))
    agree(create_model("resnet18", attention=kind, **options), theirs)


# ---------------------------------------------------------------------------- placements


def by_hand(block: Residual, place: str, x: torch.Tensor) -> torch.Tensor:
    """Figure 5 of the paper and its SE_3×3, module by module."""

    def se(here: str, u: torch.Tensor) -> torch.Tensor:
        return block.se(u) if here == place else u

    match block:
        case BasicBlock():
            h = F.relu(se("3x3", block.bn1(block.conv1(se("pre", x)))))
            u = se("standard", block.bn2(block.conv2(h)))
        case Bottleneck():
            h = F.relu(block.bn1(block.conv1(se("pre", x))))
            h = F.relu(se("3x3", block.bn2(block.conv2(h))))
            u = se("standard", block.bn3(block.conv3(h)))
        case PreactBasicBlock():
            active = F.relu(block.bn1(se("pre", x)))
            h = F.relu(se("3x3", block.bn2(block.conv1(active))))
            u = se("standard", block.conv2(h))
        case PreactBottleneck():
            active = F.relu(block.bn1(se("pre", x)))
            h = F.relu(block.bn2(block.conv1(active)))
            h = F.relu(se("3x3", block.bn3(block.conv2(h))))
            u = se("standard", block.conv3(h))
    if block.preactivation:
        shortcut = x if block.downsample is None else block.downsample(active)
        return se("post", u + se("identity", shortcut))
    shortcut = x if block.downsample is None else block.downsample(x)
    return se("post", F.relu(u + se("identity", shortcut)))


@pytest.mark.parametrize("kind", ["se", "eca", "scse", "ge"])
@pytest.mark.parametrize("place", PLACEMENTS)
@pytest.mark.parametrize("block", [BasicBlock, Bottleneck, PreactBasicBlock, PreactBottleneck])
@pytest.mark.parametrize("stride", [1, 2])
def test_attention_is_where_the_paper_puts_it(block, place, kind, stride):
    outputs = 16 * block.expansion
    inputs = outputs if stride == 1 else 24
    channels = dict.fromkeys(PLACEMENTS, outputs) | {"pre": inputs, "3x3": 16}
    downsample = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else None
    design = Design(placement=place, se=attend(kind, {}))
    residual = scramble(block(inputs, 16, Step(stride), 2, design, downsample)).eval()
    x = torch.randn(2, inputs, 6, 6)
    torch.testing.assert_close(residual(x), by_hand(residual, place, x), rtol=1e-4, atol=1e-5)
    others = [p for p in PLACEMENTS if p != place and channels[p] == channels[place]]
    for other in ("none", *others):
        assert not torch.allclose(residual(x), by_hand(residual, other, x), rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACEMENTS)
def test_every_kind_in_every_place_of_a_network(kind, place):
    options = {"attention": kind, "placement": place, "se_stages": (2, 4)}
    model = create_model("resnet8_cifar", **options)
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 10)
    assert list(attention_of(model)) == ["layer1.0.se", "layer3.0.se"]


# ---------------------------------------------------------------------------- errors


def test_a_network_without_attention_is_the_plain_one():
    model = create_model("se_resnet8_cifar", attention=None)
    assert not attention_of(model)
    assert set(model.state_dict()) == set(create_model("resnet8_cifar").state_dict())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet8_cifar", {"attention": "ecca"},
         "no attention 'ecca'. Did you mean eca.*There are: se, eca, ese, scse, ge, or none"),
        ("resnet8_cifar", {"attention": "eca", "reduction": 8},
         "resnet8_cifar with attention='eca' has no option 'reduction'.*kernel_size"),
        ("se_resnet8_cifar", {"kernel_size": 3}, "se_resnet8_cifar has no option 'kernel_size'"),
        ("resnet8_cifar", {"reduction": 8}, "resnet8_cifar has no option 'reduction'"),
        ("resnet8_cifar", {"attention": "ge", "extend": 2}, "Did you mean extent?"),
        ("resnet8_cifar", {"placement": "post"}, "has no option 'placement'"),
        ("se_resnet8_cifar", {"placement": "after"}, "placement must be one of"),
        ("se_resnet8_cifar", {"se_stages": 1}, "se_stages=1 must name stages from 2 on"),
        ("se_resnet8_cifar", {"se_stages": ()}, "must name stages from 2 on"),
        ("se_resnet8_cifar", {"reduction": (4, 8)},
         r"reduction=\(4, 8\) names 2 stages, and the network has a stage 4"),
        ("resnet8_cifar", {"attention": "eca", "kernel_size": 2}, "kernel_size must be odd"),
        ("resnet8_cifar", {"attention": "ge", "extent": 0}, "extent must be at least 1"),
        ("resnet8_cifar", {"attention": "scse", "reduction": 99}, "use a reduction of at most 16"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        create_model(name, **options)


def test_options_are_listed_with_their_defaults():
    assert entry("resnet8_cifar").options("ge")["extent"] is None
    assert "extent" not in entry("se_resnet8_cifar").options()
    for kind in KINDS:
        assert options_of(kind)["se_stages"] is None


def test_a_stage_that_the_network_has_not_is_an_error():
    with pytest.raises(ValueError, match=r"se_stages=\(5, 6\): se_resnet18 has stages 2 to 5"):
        create_model("se_resnet18", se_stages=(5, 6))
