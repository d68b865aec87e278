"""Blocks of channel attention, recognised by what they do, and the gates that they make."""

from functools import partial

import pytest
import torch
from torch import nn

from senet import SqueezeExcitation, accelerate, create_model
from senet.gates import gates_of, record


def blocks_of(world):
    timm, torchvision = world.timm.layers, world.torchvision.ops
    return {
        "timm SE": timm.SEModule(16),
        "timm SE, SiLU": timm.SEModule(16, act_layer=nn.SiLU, gate_layer="hard_sigmoid"),
        "timm SE, norm": timm.SEModule(16, norm_layer=nn.BatchNorm2d),
        "timm eSE": timm.EffectiveSEModule(16),
        "timm ECA": timm.EcaModule(16),
        "timm CBAM channels": timm.cbam.ChannelAttn(16),
        "torchvision SE": torchvision.SqueezeExcitation(16, 4, activation=nn.SiLU),
        "ours": SqueezeExcitation(16, 4),
    }


def test_all_kinds_of_blocks_show_their_gates(world):
    u = torch.randn(3, 16, 5, 5)
    for name, block in blocks_of(world).items():
        gates = gates_of(block.eval())
        assert gates is not None, name
        s = gates(u).reshape(3, 16, -1)[..., :1, None]
        torch.testing.assert_close(block(u), u * s, msg=name)
        (seen,) = record(block, [(u, torch.zeros(3).long())], 1, blocks={"": block}).values()
        assert not seen.why, name
        torch.testing.assert_close(seen.squeezed.mean[0], u.double().mean((0, 2, 3)), msg=name)
        torch.testing.assert_close(seen.overall.float(), s.mean(0).flatten(), msg=name)


def test_what_is_no_block_is_none(world):
    layers = world.timm.layers
    others = [
        nn.Conv2d(8, 8, 1),
        nn.Sequential(nn.Conv2d(8, 8, 1), nn.Sigmoid()),
        layers.LayerScale2d(8),
        layers.BatchNormAct2d(8),
        world.timm.models.resnet.BasicBlock(8, 8),
    ]
    for other in others:
        assert gates_of(other) is None, other


def test_gates_of_positions_are_told_apart(world):
    spatial = world.timm.layers.cbam.SpatialAttn().eval()
    batches = [(torch.randn(2, 8, 5, 5), torch.zeros(2).long())]
    found = record(spatial, batches, 1, blocks={"x": spatial})
    assert found["x"].why == "its gates are not one number per image and channel"


class Biased(SqueezeExcitation):
    """SE that adds something to the rescaled map."""

    def forward(self, u, mask=None):
        return super().forward(u, mask) + 0.1


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (Biased(8, 2), "it does more than multiply its map by its gates"),
        (SqueezeExcitation(8, 2, gate="relu"), "its gates are not finite"),
    ],
)
def test_blocks_that_do_something_else_say_so(block, why):
    nn.init.constant_(block.fc2.bias, float("inf") if "finite" in why else 0.0)
    batches = [(torch.randn(2, 8, 5, 5), torch.zeros(2).long())]
    found = record(block, batches, 1, blocks={"x": block})
    assert found["x"].why == why
    assert not block._forward_hooks


def network():
    torch.manual_seed(0)
    return create_model("se_resnet8_cifar", num_classes=3).eval()


def images(n=40):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, 32, 32, generator=generator), torch.arange(n) % 3


def test_squeezes_are_the_means_of_the_maps():
    model, (x, labels), maps = network(), images(), []
    hook = model.layer2[0].se.register_forward_pre_hook(lambda block, given: maps.append(given[0]))
    with torch.no_grad():
        model(x)
    hook.remove()
    z = maps[0].double().mean((2, 3))
    squeezed = record(model, zip(x.split(7), labels.split(7), strict=True), 3)[
        "layer2.0.se"
    ].squeezed
    for k in range(3):
        own = z[labels == k]
        torch.testing.assert_close(squeezed.mean[k], own.mean(0), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(squeezed.std[k], own.std(0, correction=0), rtol=1e-4, atol=1e-6)


def test_examples_are_the_same_images_for_every_block():
    model, (x, labels) = network(), images()
    found = record(model, zip(x.split(7), labels.split(7), strict=True), 3, examples=10)
    chosen = found["layer1.0.se"].examples.images
    assert len(set(chosen.tolist())) == 10
    assert max(chosen) > 20  # drawn from all, not the first
    assert torch.equal(found["layer1.0.se"].examples.labels, labels[chosen])
    whole = record(model, [(x[chosen], labels[chosen])], 3, examples=99)
    for path, block in found.items():
        assert torch.equal(block.examples.images, chosen)
        assert whole[path].examples.images.tolist() == list(range(10))  # fewer than were asked for
        torch.testing.assert_close(block.examples.z, whole[path].examples.z, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(block.examples.s, whole[path].examples.s, rtol=1e-4, atol=1e-6)


def test_what_is_kept_does_not_grow_with_the_images():
    block = SqueezeExcitation(8, 2)

    def held(batches):
        data = ((torch.randn(4, 8, 3, 3), torch.arange(4) % 2) for _ in range(batches))
        seen = record(block, data, 2, blocks={"": block}, examples=3)[""]
        tensors = [seen.mean, seen.std, seen.images, *vars(seen.squeezed).values()]
        tensors += vars(seen.examples).values()
        return sum(t.untyped_storage().nbytes() for t in tensors)

    assert held(1) == held(30)


def test_a_gate_that_is_called_by_hand_is_not_recorded():
    model, (x, labels) = network(), images(4)
    plain = record(model, [(x, labels)], 3)

    def by_hand(se, given, y):
        se.gates(given[0] + 1)

    model.layer1[0].se.register_forward_hook(by_hand)
    for path, block in record(model, [(x, labels)], 3).items():
        assert torch.equal(block.mean, plain[path].mean)


def test_an_accelerated_network_is_recorded_as_it_was_written():
    model, (x, labels) = network(), images(4)
    plain = record(model, [(x, labels)], 3)
    accelerate(model)
    model(x)
    for path, block in record(model, [(x, labels)], 3).items():
        assert torch.equal(block.mean, plain[path].mean)


def test_images_without_labels_are_of_one_class():
    model, (x, _) = network(), images(4)
    alone = record(model, [x])
    for path, block in record(model, [(x, torch.zeros(4).long())]).items():
        assert torch.equal(block.mean, alone[path].mean)


def test_a_label_that_is_not_a_class_is_refused():
    with pytest.raises(ValueError, match=r"labels 0 … 2 do not fit classes=2"):
        record(network(), [images(4)], 2)


def kept(seen, path, module, given, s):
    seen[path] = s.flatten(1)


@pytest.mark.slow
def test_networks_of_others_give_the_gates_that_hooks_see(world):
    networks = {
        "timm": (world.timm.create_model("seresnet18"), world.timm.layers.SEModule, "gate"),
        "torchvision": (
            world.torchvision.models.mobilenet_v3_small(),
            world.torchvision.ops.SqueezeExcitation,
            "scale_activation",
        ),
    }
    x = torch.randn(3, 3, 64, 64)
    for model, kind, gate in networks.values():
        seen = {}
        for path, block in model.eval().named_modules():
            if isinstance(block, kind):
                keep = partial(kept, seen, path)
                getattr(block, gate).register_forward_hook(keep)
        with torch.no_grad():
            model(x)
        found = record(model, [x], examples=3)
        assert list(found) == list(seen)
        for path, block in found.items():
            assert torch.equal(block.examples.s, seen[path])
