"""SE blocks of other fields: found or left alone as docs/surgery.md says; the same results.

Where a project is installed beside timm (MONAI, segmentation_models_pytorch), its own block is held
to the same: `pip install --no-deps` suffices.
"""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import other_fields as theirs
from benchmarks.models.blocks import SIZES
from senet import accelerate
from senet.gates import blocks_of, is_attention, se_layers
from senet.ops import backend
from tests.models.agreement import scramble
from tests.oracle import SHAKES, rounded, within_rule

C = 16
SEQUENCE, IMAGE, VOLUME = (4, C, 23), (4, C, 9, 7), (4, C, 5, 6, 7)
SHARES, LENGTHS = torch.tensor([1.0, 0.5, 0.7, 0.2]), torch.tensor([23, 11, 5, 17])
DOCUMENT = Path(__file__).parents[2] / "docs" / "surgery.md"

# Name: the inputs of the network, its tails that run on the passes, and its SE blocks, by path.
CASES = {
    "MONAI ChannelSELayer, 1-D": ([SEQUENCE], ["norm + SE"], ["2"]),
    "MONAI ChannelSELayer, 2-D": ([IMAGE], ["norm + SE"], ["2"]),
    "MONAI ChannelSELayer, 3-D": ([VOLUME], ["norm + SE"], ["2"]),
    "MONAI ResidualSELayer": ([VOLUME], ["SE + shortcut"], []),
    "MONAI SEBlock": (
        [VOLUME], ["norm + ReLU"] * 2 + ["norm + SE + shortcut + ReLU"], ["se_layer"],
    ),
    "MONAI SEResNet50, 2-D": (
        [(4, 3, 33, 33)],
        ["norm + ReLU"] * 3 + ["norm + SE + shortcut + ReLU"] + ["norm + ReLU"] * 2
        + ["norm + SE + shortcut + ReLU"],
        ["layer1.0.se_layer", "layer2.0.se_layer"],
    ),
    "MONAI SEResNet50, 3-D": (
        [(4, 1, 17, 17, 17)],
        ["norm + ReLU"] * 3 + ["norm + SE + shortcut + ReLU"] + ["norm + ReLU"] * 2
        + ["norm + SE + shortcut + ReLU"],
        ["layer1.0.se_layer", "layer2.0.se_layer"],
    ),
    "MONAI SENet154": (
        [(4, 3, 33, 33)],
        ["norm + ReLU"] * 5 + ["norm + SE + shortcut + ReLU"] + ["norm + ReLU"] * 2
        + ["norm + SE + shortcut + ReLU"],
        ["layer1.0.se_layer", "layer2.0.se_layer"],
    ),
    "nnU-Net SqueezeExcite, 2-D": ([IMAGE], ["norm + SE"], ["2"]),
    "nnU-Net SqueezeExcite, 3-D": ([VOLUME], [], []),
    "speechbrain SEBlock": ([SEQUENCE], ["norm + SE + shortcut"], ["se_block"]),
    "speechbrain SEBlock with lengths": ([SEQUENCE, SHARES], [], ["se_block"]),
    "wespeaker SE_Connect": ([SEQUENCE], ["norm + SE + shortcut"], ["se_res2block.2"]),
    "NeMo SqueezeExcite": ([SEQUENCE, LENGTHS], [], []),
    "NeMo SqueezeExcite, windowed": ([SEQUENCE, LENGTHS], [], []),
    "segmentation_models_pytorch SCSEModule": ([IMAGE], ["norm + ReLU", "SE + shortcut"], []),
    "mmpretrain SELayer": ([IMAGE], ["norm + SE + shortcut + ReLU"], ["se_layer"]),
    "fastai SEModule": ([IMAGE], ["norm + SE"], []),
    "pytorchvideo SqueezeExcitation (X3D)": ([VOLUME], ["norm + SE"], ["norm_b.1"]),
    "torchaudio Conformer": ([(4, 23, C)], ["norm + SiLU"], []),
    "SE in the neck of a YOLO": (
        [(4, C, 10, 8)], ["norm + SiLU + SE"] * 2 + ["norm + SiLU"], ["down.1", "side.1"],
    ),
}  # fmt: skip

needs_passes = pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))


def made(name):
    """Return the network of a case with lively weights, and its inputs."""
    model = theirs.NETWORKS[name](C)
    scramble(model)
    x, *more = CASES[name][0]
    return model, torch.randn(x), more


def results(model, x, more, training):
    """Return the output, all gradients, and the buffers afterwards."""
    model.train(training).zero_grad()
    x = x.clone().requires_grad_()
    y = model(x, *more)
    (y * torch.arange(y.numel()).to(y).reshape(y.shape).cos()).sum().backward()
    found = {"output": y.detach(), "gradient of x": x.grad}
    found |= {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
    return found | {k: b.clone() for k, b in model.named_buffers()}


def moved(exact):
    """Return a copy of a network in float64 with each number moved by a rounding of float32."""
    other = copy.deepcopy(exact)
    with torch.no_grad():
        for value in other.parameters():
            value.copy_(rounded(value, torch.float32))
    return other


def require_the_rule(model, fast, x, more):
    for training in (False, True):
        exact = copy.deepcopy(model).double()
        wide = [m.double() if m.is_floating_point() else m for m in more]
        nudged = [(moved(exact), rounded(x.double(), x.dtype)) for _ in range(SHAKES)]
        shaken = [results(other, near, wide, training) for other, near in nudged]
        # Where the truth is 0 (a bias before a norm), only plain runs show what rounding makes.
        shaken += [results(other.float(), near.float(), more, training) for other, near in nudged]
        truth = results(exact, x.double(), wide, training)
        plain, got = results(model, x, more, training), results(fast, x, more, training)
        assert got.keys() == plain.keys()
        for name in truth:
            others = [s[name] for s in shaken]
            wrong = within_rule(got[name], plain[name], truth[name], x.dtype, others)
            assert wrong is None, (training, name, wrong)


@needs_passes
@pytest.mark.parametrize("name", CASES)
def test_accelerated_it_is_the_same_network(name):
    torch._dynamo.reset()
    model, x, more = made(name)
    fast = copy.deepcopy(model)
    report = accelerate(fast)
    require_the_rule(model, fast, x, more)
    assert [finding.found for finding in report.changed] == CASES[name][1]
    assert report.left_alone == []
    assert list(fast.state_dict()) == list(model.state_dict())


def test_every_network_is_tested_and_timed():
    assert CASES.keys() == theirs.NETWORKS.keys() == SIZES.keys()


@pytest.mark.parametrize("name", CASES)
def test_its_se_blocks_are_found_by_what_they_do(name):
    model, _, _ = made(name)
    found = {p: m for p, m in blocks_of(model).items() if is_attention(m)}
    assert list(found) == CASES[name][2]
    assert all(se_layers(block) is not None for block in found.values())


@needs_passes
def test_a_mask_keeps_its_effect_when_the_network_was_captured_without_one():
    torch._dynamo.reset()
    model, x, _ = made("speechbrain SEBlock")
    fast = copy.deepcopy(model).eval()
    report = accelerate(fast, x)
    assert len(report.changed) == 1
    with torch.no_grad():
        torch.testing.assert_close(fast(x, SHARES), model.eval()(x, SHARES), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            fast(x, lengths=SHARES), model(x, lengths=SHARES), rtol=1e-5, atol=1e-5
        )


def test_the_keys_are_those_that_the_projects_publish():
    def keys(block):
        return [k.removesuffix(".weight") for k in block.state_dict() if k.endswith("weight")]

    assert keys(theirs.MonaiChannelSELayer(2, C)) == ["fc.0", "fc.2"]
    assert keys(theirs.MonaiSEBlock(2, C, 8, 8, C))[:2] == ["convs.conv1.conv", "convs.conv1.adn.N"]
    assert keys(theirs.NnunetSqueezeExcite(C, nn.Conv2d)) == ["fc1", "fc2"]
    assert keys(theirs.SpeechbrainSEBlock(C, 4, C)) == ["conv1.conv", "conv2.conv"]
    assert keys(theirs.WespeakerSEConnect(C)) == ["linear1", "linear2"]
    assert keys(theirs.NemoSqueezeExcite(C, 4)) == ["fc.0", "fc.2"]
    assert keys(theirs.SmpSCSEModule(C)) == ["cSE.1", "cSE.3", "sSE.0"]
    assert keys(theirs.MmpretrainSELayer(C)) == ["conv1.conv", "conv2.conv"]
    assert keys(theirs.FastaiSEModule(C, 2)) == ["layers.1.0", "layers.2.0"]
    assert keys(theirs.PytorchvideoSqueezeExcitation(C)) == ["block.1", "block.3"]
    assert keys(theirs.YoloSE(C, C)) == ["l1", "l2"]


@pytest.mark.parametrize("name", CASES)
def test_the_document_lists_it(name):
    rows = [line for line in DOCUMENT.read_text().splitlines() if f"| {name} |" in line]
    assert len(rows) == 2, f"docs/surgery.md has not what is found of {name} and what it gains"
    row = rows[0]
    tails, gates = CASES[name][1:]
    passes, finder = row.split("|")[2:4]
    assert ("found" in passes) == any("SE" in t for t in tails)
    assert ("left alone" in passes) == (not any("SE" in t for t in tails))
    assert ("found" in finder) == bool(gates)


# --- the real libraries, where they are installed -------------------------------------------------


@needs_passes
def test_real_monai():
    blocks = pytest.importorskip("monai.networks.blocks.squeeze_and_excitation")
    for dims, shape in ((2, IMAGE), (3, VOLUME)):
        torch._dynamo.reset()
        real, written = blocks.ChannelSELayer(dims, C), theirs.MonaiChannelSELayer(dims, C)
        written.load_state_dict(real.state_dict())
        x = torch.randn(shape)
        torch.testing.assert_close(written(x), real(x))
        fast = theirs.after_norm(copy.deepcopy(real), C, dims)
        assert [f.found for f in accelerate(fast, x).changed] == ["norm + SE"]


@needs_passes
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SEResNet50", "SENet154"])
def test_real_networks_of_monai(name):
    networks = pytest.importorskip("monai.networks.nets")
    torch._dynamo.reset()
    make = getattr(networks, name)
    model = make(spatial_dims=2, in_channels=3, layers=(1, 1, 1, 1), num_classes=5).eval()
    scramble(model)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = model(x)
        report = accelerate(model)
        torch.testing.assert_close(model(x), wanted, rtol=1e-4, atol=1e-4)
    found = [f.found for f in report.changed]
    assert found.count("norm + SE + shortcut + ReLU") == 4
    assert sum(is_attention(block) for block in blocks_of(model).values()) == 4


@needs_passes
@pytest.mark.usefixtures("world")  # it needs timm
def test_real_segmentation_models():
    modules = pytest.importorskip("segmentation_models_pytorch.base.modules")
    torch._dynamo.reset()
    real, written = modules.SCSEModule(C, 4), theirs.SmpSCSEModule(C, 4)
    written.load_state_dict(real.state_dict())
    x = torch.randn(IMAGE)
    torch.testing.assert_close(written(x), real(x))
    fast = theirs.after_norm(real, C, 2, nn.ReLU())
    assert [f.found for f in accelerate(fast, x).changed] == ["norm + ReLU", "SE + shortcut"]
