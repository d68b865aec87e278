"""Networks of other libraries, and a genuine one on photographs."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from senet import create_model, explain
from senet.explain.page import page
from senet.gates import blocks_of, record
from senet.models.weights.file import load_state, read_state

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def theirs(world, library):
    if library == "timm":
        return world.timm.create_model("seresnet18"), "gate"
    return world.torchvision.models.mobilenet_v3_small(), "scale_activation"


@pytest.mark.slow
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_gates_are_those_that_hooks_of_ones_own_see(world, library):
    model, gate = theirs(world, library)
    for block in blocks_of(model.eval()).values():
        for parameter in block.parameters():  # new weights have gates that hardly move
            nn.init.normal_(parameter, std=0.3)
    x, seen = torch.randn(6, 3, 64, 64), {}
    for path, block in blocks_of(model).items():
        block.get_submodule(gate).register_forward_hook(
            lambda m, a, s, path=path: seen.update({path: s.flatten(1)})
        )
    with torch.no_grad():
        model(x)
    own = dict(seen)
    found = record(model, [x[:4], x[4:]], examples=6)
    assert list(found) == list(own)
    for path, s in own.items():
        # Another batch size may round otherwise.
        torch.testing.assert_close(found[path].examples.s, s, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(found[path].overall.float(), s.mean(0), rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def photographs(development_data):
    """The first 100 test images of CIFAR-10 in the size of ImageNet's, and their labels."""
    with Image.open(development_data / "cifar10" / "test_batch.webp") as mosaic:
        row = mosaic.convert("RGB").crop((0, 0, 3200, 32))
    tiles = [row.crop((x, 0, x + 32, 32)).resize((224, 224)) for x in range(0, 3200, 32)]
    pixels = torch.from_numpy(np.stack([np.asarray(tile) for tile in tiles])).permute(0, 3, 1, 2)
    with np.load(development_data / "cifar10" / "labels.npz") as labels:
        return pixels / 127.5 - 1, torch.from_numpy(labels["test"][:100]).long()


@pytest.fixture(scope="module")
def genuine(development_data):
    model = create_model("mobilenet_v3_small", padding="same", eps=1e-3).eval()
    file = "mobilenetv3_small_keras_imagenet_folded.safetensors"
    load_state(model, read_state(development_data / "weights" / file))
    return model


@pytest.mark.slow
def test_a_genuine_network_on_photographs(genuine, photographs):
    x, labels = photographs
    found = explain.network(genuine, [(x[:50], labels[:50]), (x[50:], labels[50:])], CIFAR)
    shares = {fact.name: (fact.drawn, fact.level, fact.informed) for fact in found.facts}
    report = "\n".join(f"{name} {values}" for name, values in shares.items())
    print(report)  # the paper's claim is reported, not assumed: `pytest -s` shows it
    assert len(shares) == 9
    assert all(0 <= drawn <= 1 for drawn, _, _ in shares.values())
    # It was trained on ImageNet, which has classes of animals and of vehicles.
    assert any(informed for _, _, informed in shares.values()), report
    assert "images of 10 classes" in page(found)
    ablation = explain.ablate(genuine, [(x[:20], labels[:20])], found.blocks, own=True)
    everything = [one for one in explain.worth(ablation) if not one.block and one.form == "one"]
    # Without any gate it is another network.
    assert everything[0].loss.value > 0.5
    assert everything[0].accuracy.high < 0
