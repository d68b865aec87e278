"""Grad-CAM, ROAD and the maps of one image, on networks of which the answer is known."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from senet import SqueezeExcitation, create_model, explain
from senet.explain.grad_cam import grad_cam
from senet.explain.page import page
from senet.explain.picture import picture
from senet.explain.road import NOISE, _without, road
from senet.gates import record


def test_grad_cam_is_what_the_paper_says():
    model = create_model("se_resnet8_cifar", num_classes=3).eval()
    x = torch.randn(1, 3, 32, 32)
    cam, A = grad_cam(model, x, model.layer3[0].conv1, 1)
    kept = []
    hook = model.layer3[0].conv1.register_forward_hook(
        lambda m, a, y: kept.append(y) or y.retain_grad()
    )
    model(x)[0, 1].backward()
    hook.remove()
    weights = kept[0].grad[0].mean((1, 2))
    expected = torch.einsum("c,chw->hw", weights, kept[0][0]).relu()
    torch.testing.assert_close(cam, expected.detach())
    torch.testing.assert_close(A, kept[0][0].detach())
    assert not model.layer3[0].conv1._forward_hooks


def test_grad_cam_of_frozen_weights():
    model = create_model("se_resnet8_cifar").requires_grad_(False)
    cam, _ = grad_cam(model, torch.randn(1, 3, 32, 32), model.layer1[0].se, 0)
    assert cam.shape == (32, 32)
    assert model.training


def where_bright():
    """Return a network that answers 1 where the middle is bright, by one channel of its block."""
    se = SqueezeExcitation(3, 1)
    for parameter in se.parameters():
        nn.init.zeros_(parameter)
    head = nn.Linear(3, 2)
    head.weight.data = torch.tensor([[0.0, 0.0, 0.0], [60.0, 0.0, 0.0]])
    head.bias.data = torch.tensor([2.0, 0.0])
    return nn.Sequential(se, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()


def spot():
    x = torch.zeros(1, 3, 16, 16)
    x[:, :, 6:10, 6:10] = 2
    return x


def test_a_map_of_what_the_network_uses_is_believed_and_its_opposite_is_not():
    model, x = where_bright(), spot()

    @torch.no_grad()
    def asked(images):
        return model(images).softmax(1)[:, 1]

    cam, _ = grad_cam(model, x, model[0], 1)
    found = road(asked, x, cam)
    assert found.believed
    assert (found.most[1:] < found.least[1:] - 0.1).all()
    assert (found.most[0], found.least[0]) == pytest.approx((float(asked(x)),) * 2)
    assert not road(asked, x, -cam).believed
    # A map that knows nothing is believed once in twenty times.
    blind = [road(asked, x, torch.rand(16, 16)).believed for _ in range(10)]
    assert sum(blind) <= 3


def test_removed_pixels_are_what_their_neighbours_suggest():
    ramp = torch.arange(12.0).expand(1, 12, 12)
    removed = torch.tensor([12 * y + x for y in range(4, 8) for x in range(4, 8)])
    filled = _without(ramp, removed, torch.Generator().manual_seed(0))
    assert float((filled - ramp).abs().max()) < 5 * NOISE  # a linear ramp solves the equations
    everything = _without(ramp, torch.arange(12, 144), torch.Generator())
    assert everything.isfinite().all()


def test_a_picture_on_the_page(tmp_path):
    torch.manual_seed(0)
    model = create_model("se_resnet8_cifar", num_classes=3).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, labels = torch.randn(12, 3, 32, 32), torch.arange(12) % 3
    found = explain.network(model, [(x, labels)], ("cat", "dog", "newt"))
    pixels = torch.randint(0, 255, (3, 32, 32), dtype=torch.uint8)
    one = picture("a.png", model, x[:1], pixels, found.blocks, found.classes)
    apart = {change.name: change.apart for change, _ in one.changed}
    assert one.focus == max(apart, key=lambda path: apart[path])
    assert [each.raised for each in one.maps] == [True] * 3 + [False] * 3
    s = found.blocks[one.focus].examples.s[:, one.maps[0].channel]
    assert one.maps[0].openers[0] == int(s.argmax())
    asked = []
    found = replace(found, pictures=(one,), look=lambda at: asked.append(at) or "data:,x")
    html = page(found)
    assert set(one.maps[0].openers) <= set(asked)
    assert re.search("(Believe|Do not believe) the map", html)
    found.save(tmp_path / "out")
    rows = (tmp_path / "out/road.csv").read_text().splitlines()
    assert len(rows) == 1 + 21 * 5
    assert f"a.png,grad_cam,0,{one.probability:.6}"[:24] in rows[1]


def test_deviations_are_those_of_all_images():
    model, x = create_model("se_resnet8_cifar").eval(), torch.randn(9, 3, 32, 32)
    nn.init.normal_(model.layer1[0].se.fc2.weight)
    block = record(model, [(x, torch.arange(9) % 3)], 3, examples=9)["layer1.0.se"]
    expected = np.std(block.examples.s.double().numpy(), axis=0)
    assert block.deviation.numpy() == pytest.approx(expected, rel=1e-4)
