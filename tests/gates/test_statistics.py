"""Recorded gates against gates worked out by hand."""

import pytest
import torch
from torch import nn

from senet import SqueezeExcitation, create_model
from senet.gates import BlockGates, record, recording
from senet.gates.statistics import Moments
from senet.nn import ChannelAttention


def by_class(model, batches, classes):
    return list(record(model, batches, classes).values())


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("se_resnet8_cifar", num_classes=3).eval()


def _batches(n=50, classes=3, size=12):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 3, 32, 32, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator)
    images += labels[:, None, None, None]  # so that the gates do depend on the class
    return images, labels, list(zip(images.split(size), labels.split(size), strict=True))


def _by_hand(model, images):
    """Return the gates for the maps that enter the blocks, by the block's own method."""
    maps = {}
    hooks = [
        block.register_forward_pre_hook(lambda block, inputs: maps.update({block: inputs[0]}))
        for block in model.modules()
        if isinstance(block, ChannelAttention)
    ]
    with torch.inference_mode():
        model(images)
        found = {
            name: block.gates(maps[block])
            for name, block in model.named_modules()
            if isinstance(block, ChannelAttention)
        }
    for hook in hooks:
        hook.remove()
    return found


def test_gates_by_class_are_those_by_hand(model):
    images, labels, batches = _batches()
    found = by_class(model, batches, classes=3)
    expected = _by_hand(model, images)
    assert [b.name for b in found] == list(expected)
    for block in found:
        s = expected[block.name].double()
        for k in range(3):
            own = s[labels == k]
            torch.testing.assert_close(block.mean[k], own.mean(0), rtol=1e-6, atol=1e-7)
            torch.testing.assert_close(block.std[k], own.std(0, correction=0), rtol=1e-4, atol=1e-6)
            assert block.images[k] == len(own)
        torch.testing.assert_close(block.overall, s.mean(0), rtol=1e-6, atol=1e-7)


def test_variance_divides_into_between_and_within(model):
    images, labels, batches = _batches()
    for block in by_class(model, batches, classes=3):
        s = _by_hand(model, images)[block.name].double()
        between = sum(
            (labels == k).sum() * (s[labels == k].mean(0) - s.mean(0)).square() for k in range(3)
        )
        total = (s - s.mean(0)).square().sum(0)
        assert isinstance(between, torch.Tensor)
        assert block.class_dependence == pytest.approx(float(between.sum() / total.sum()), rel=1e-4)
        assert 0.05 < block.class_dependence < 1


def _block(mean, std, images=(5, 5)):
    return BlockGates(
        "layer1.0.se", torch.tensor(mean).double(), torch.tensor(std).double(),
        torch.tensor(images).double(), 0.0, 0.0,
    )  # fmt: skip


def test_class_dependence_at_its_ends():
    assert _block([[0.2], [0.8]], [[0.0], [0.0]]).class_dependence == 1
    assert _block([[0.5], [0.5]], [[0.1], [0.1]]).class_dependence == 0
    assert _block([[0.5], [0.5]], [[0.0], [0.0]]).class_dependence == 0  # nothing varies
    # Variance 0.09 between and 0.03 within.
    assert _block([[0.2], [0.8]], [[0.03**0.5]] * 2).class_dependence == pytest.approx(0.75)


def test_a_class_of_no_image_has_no_gates(model):
    _, _, batches = _batches()
    for block in by_class(model, batches, classes=4):
        assert block.images[3] == 0
        assert block.mean[3].isnan().all()
        assert block.overall.isfinite().all()
        assert 0 < block.class_dependence < 1


def test_saturated_gates_are_counted(model):
    _, _, batches = _batches()
    for name, bias in (("layer1.0.se", 9.0), ("layer2.0.se", -9.0)):
        block = model.get_submodule(name)
        nn.init.zeros_(block.fc2.weight)
        nn.init.constant_(block.fc2.bias, bias)
    opened, closed, free = by_class(model, batches, classes=3)
    assert (opened.open, opened.closed) == (1, 0)
    assert (closed.open, closed.closed) == (0, 1)
    assert free.open + free.closed < 1


def test_a_gate_that_hardly_moves_keeps_its_variance(model):
    """Plain sums of squares would lose a deviation of 1e-6 of the mean; merged ones do not."""
    images, labels, batches = _batches()
    for block in model.modules():
        if isinstance(block, SqueezeExcitation):
            block.fc2.weight.data *= 1e-6
    for block in by_class(model.double(), [(i.double(), k) for i, k in batches], classes=3):
        own = _by_hand(model, images.double())[block.name][labels == 0]
        torch.testing.assert_close(block.std[0], own.std(0, correction=0), rtol=1e-4, atol=0)


def test_gates_of_every_position_are_averaged():
    torch.manual_seed(0)
    model = create_model("se_resnet8_cifar", squeeze="none").eval()
    images = torch.randn(2, 3, 32, 32)
    expected = _by_hand(model, images)
    with recording(model) as gates, torch.inference_mode():
        model(images)
    for name, seen in gates.items():
        torch.testing.assert_close(seen.s, expected[name].mean((2, 3)))


@pytest.mark.parametrize(
    "options",
    [{"attention": "eca"}, {"attention": "ese"}, {"attention": "scse"}, {"attention": "ge"},
     {"attention": "ge", "extent": 2}],
    ids=str,
)  # fmt: skip
def test_gates_of_every_kind_of_attention_are_recorded(options):
    model = create_model("resnet8_cifar", num_classes=3, **options).eval()
    images, labels, batches = _batches()
    expected = _by_hand(model, images)
    with recording(model) as gates, torch.inference_mode():
        model(images)
    assert list(gates) == list(expected) == ["layer1.0.se", "layer2.0.se", "layer3.0.se"]
    for name, s in expected.items():
        by_image = s if s.dim() == 2 else s.mean((2, 3))
        torch.testing.assert_close(gates[name].s, by_image)
    for block in by_class(model, batches, classes=3):
        mean = gates[block.name].s[labels == 1].double().mean(0)
        torch.testing.assert_close(block.mean[1], mean, rtol=1e-5, atol=1e-6)


def _hooks(model):
    return sum(len(m._forward_hooks) for m in model.modules())


def test_hooks_are_gone_after_an_error(model):
    with recording(model) as gates:
        model(torch.randn(1, 3, 32, 32))
        assert _hooks(model) == 2 * len(gates) == 6  # the block's, and its gate's
    assert _hooks(model) == 0
    with pytest.raises(RuntimeError, match="channels"), recording(model):
        model(torch.randn(1, 5, 32, 32))
    assert _hooks(model) == 0


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(model, training):
    model.train(training)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    by_class(model, _batches()[2], classes=3)
    assert model.training is training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

    def broken():
        yield torch.randn(1, 3, 32, 32), torch.tensor([0])
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        by_class(model, broken(), classes=3)
    assert model.training is training
    assert _hooks(model) == 0


def test_a_plain_network_has_no_gates():
    with pytest.raises(ValueError, match="ResNet has no SE block"):
        by_class(create_model("resnet8_cifar"), _batches()[2], classes=3)


def test_no_images_are_an_error(model):
    with pytest.raises(ValueError, match="no images"):
        by_class(model, [], classes=3)


@pytest.mark.parametrize("size", [1, 7, 40])
def test_moments_do_not_depend_on_the_sizes_of_batches(size):
    x, labels = 1e4 + torch.randn(40, 8, dtype=torch.float64), torch.arange(40) % 3
    whole, parts, other = Moments(4, 8), Moments(4, 8), Moments(4, 8)
    whole.add(x, labels)
    for i, (own, of) in enumerate(zip(x.split(size), labels.split(size), strict=True)):
        (parts if i % 2 else other).add(own, of)
    parts.merge(other)
    assert torch.equal(parts.images, torch.tensor([14.0, 13, 13, 0], dtype=torch.float64))
    for k in range(3):
        own = x[labels == k]
        for moments in (whole, parts):
            torch.testing.assert_close(moments.mean[k], own.mean(0), rtol=1e-14, atol=0)
            torch.testing.assert_close(moments.std[k], own.std(0, correction=0), rtol=1e-9, atol=0)
    assert parts.mean[3].isnan().all()
