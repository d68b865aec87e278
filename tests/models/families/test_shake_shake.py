"""Shake-Shake: counts as published, the shares of both passes, blocks as the author wires them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet.models import create_model
from senet.models.describe.cost import parameters
from senet.models.families.shake_shake import Shake, ShakeBasic, TwoFlows, mix
from tests.models.agreement import scramble, shapes_of


@pytest.mark.parametrize(
    ("name", "widths", "count", "published"),
    # arXiv 1705.07485. 34.4 M is counted with ten classes, as in Table 7 of arXiv 1611.05431, whose
    # ResNeXt-29 8×64d has the eight paths of the two branches in one.
    [
        ("shake_shake_26_2x96d", (32, 64, 128), 2_923_162, "2.9"),
        ("shake_shake_26_2x96d", (64, 128, 256), 11_653_978, "11.7"),
        ("shake_shake_26_2x96d", (96, 192, 384), 26_192_922, "26.2"),
        ("shake_even_29_2x4x64d", (256, 512, 1024), 34_437_450, "34.4"),
    ],
)
def test_parameters_are_the_authors(name, widths, count, published):
    total = parameters(shapes_of(name, widths=widths))[0]
    assert total == count
    assert f"{total / 1e6:.1f}" == published


@pytest.mark.parametrize(
    ("name", "blocks", "widths"),
    [
        ("shake_shake_26_2x96d", 4, (96, 192, 384)),
        ("shake_even_29_2x4x64d", 3, (256, 512, 1024)),
    ],
)
def test_each_of_the_two_branches_has_se(name, blocks, widths):
    plain, se = parameters(shapes_of(name)), parameters(shapes_of(f"se_{name}"))
    inside = sum(2 * blocks * (2 * c * c // 16 + c // 16 + c) for c in widths)
    assert se == (plain[0] + inside, inside)


def test_a_mixture_has_other_shares_backwards():
    a, b = (torch.randn(3, 4, 4, 4, requires_grad=True) for _ in range(2))
    share = torch.tensor([0.0, 0.25, 1.0]).reshape(3, 1, 1, 1)
    again = torch.tensor([0.5, 1.0, 0.1]).reshape(3, 1, 1, 1)
    y = mix(a, b, share, again)
    torch.testing.assert_close(y, share * a + (1 - share) * b)
    sent = torch.randn_like(y)
    y.backward(sent)
    torch.testing.assert_close(a.grad, again * sent)
    torch.testing.assert_close(b.grad, (1 - again) * sent)


def shares(shake: Shake, images: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the shares of the first branch, forwards and backwards, one per image."""
    a = torch.ones(images, 2, 3, 3, requires_grad=True)
    b = torch.zeros(images, 2, 3, 3, requires_grad=True)
    y = shake(a, b)
    y.sum().backward()
    torch.testing.assert_close(a.grad + b.grad, torch.ones_like(a))
    for of_image in (y, a.grad):
        assert torch.equal(of_image, of_image[:, :1, :1, :1].expand_as(of_image))
    return y[:, 0, 0, 0].detach(), a.grad[:, 0, 0, 0]


def test_shake_draws_a_share_for_every_image_in_each_pass():
    there, back = shares(Shake("shake"))
    for drawn in (there, back):  # uniform: 10 % of a thousand in each tenth, within 4 deviations
        assert torch.histc(drawn, 10, 0, 1).sub(100).abs().max() < 4 * 90**0.5
    correlation = torch.corrcoef(torch.stack((there, back)))[0, 1]
    assert correlation.abs() < 4 / 1000**0.5


def test_even_draws_forwards_alone():
    there, back = shares(Shake("even"))
    assert len(there.unique()) > 900
    assert torch.equal(back, torch.full((1000,), 0.5))


@pytest.mark.parametrize("backward", ["shake", "even"])
def test_evaluation_takes_the_mean_in_both_passes(backward):
    there, back = shares(Shake(backward).eval())
    assert torch.equal(there, torch.full((1000,), 0.5))
    assert torch.equal(back, there)


def test_the_second_flow_of_a_shortcut_sees_other_pixels():
    """It sees every second row and column, shifted by one: rows -1 (zero), 1, 3 … of the map."""
    shortcut = TwoFlows(1, 2, stride=2).eval()
    for conv in (shortcut.conv1, shortcut.conv2):
        nn.init.ones_(conv.weight)
    shortcut.bn.eps = 0.0
    x = torch.arange(1.0, 37.0).reshape(1, 1, 6, 6)
    first, second = shortcut(x)[0]
    assert torch.equal(first, x[0, 0, ::2, ::2])
    assert torch.equal(second[1:, 1:], x[0, 0, 1:5:2, 1:5:2])
    assert second[0].abs().max() == second[:, 0].abs().max() == 0


def plain(conv_norm, x):
    """Compute a convolution and its batch norm in evaluation, written out."""
    conv, bn = conv_norm.conv, conv_norm.bn
    x = F.conv2d(x, conv.weight, None, conv.stride, conv.padding, 1, conv.groups)
    return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias)


def small(name):
    """Return a block whose shortcut is the identity, and one that changes the shape."""
    widths = {"shake_shake_26_2x96d": (16, 32), "shake_even_29_2x4x64d": (64, 128)}[name]
    model = create_model(name, layers=(1, 1), widths=widths).eval()
    scramble(model)
    return model


def test_the_network_for_cifar_10_has_its_relus_before_the_convolutions():
    model = small("shake_shake_26_2x96d")
    image = torch.randn(2, 3, 8, 8)
    x = plain(model.conv1, image)
    for block in (model.layer1[0], model.layer2[0]):
        active = x.relu()
        first, second = (
            plain(branch.last, plain(branch.first[0], active).relu())
            for branch in (block.branch1, block.branch2)
        )
        shortcut = x if block.downsample is None else block.downsample(active)
        x = shortcut + (first + second) / 2
    torch.testing.assert_close(model(image), model.fc(x.relu().mean((2, 3))))


def test_the_network_for_cifar_100_has_its_relus_after_them():
    model = small("shake_even_29_2x4x64d")
    image = torch.randn(2, 3, 8, 8)
    x = plain(model.conv1, image).relu()
    for block in (model.layer1[0], model.layer2[0]):
        first, second = (
            plain(branch.last, plain(branch.first[1], plain(branch.first[0], x).relu()).relu())
            for branch in (block.branch1, block.branch2)
        )
        shortcut = x if block.downsample is None else plain(block.downsample, x)
        x = (shortcut + (first + second) / 2).relu()
    torch.testing.assert_close(model(image), model.fc(x.mean((2, 3))))


class Gate(nn.Module):
    """Attention that multiplies by one number, whatever it sees."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value * x


def test_se_gates_each_branch_before_the_mixture():
    """With equal branches and gates of 2 and 0, the output shows the share of the first."""
    gates = iter((2.0, 0.0))
    block = ShakeBasic(8, 8, 1, 2, "shake", lambda channels, stage: Gate(next(gates))).train()
    block.branch2.load_state_dict(block.branch1.state_dict())
    x = torch.randn(4, 8, 5, 5)
    left = (block(x) - x) / block.branch1(x.relu())
    shares = left.flatten(1).median(1).values
    torch.testing.assert_close(left, shares.reshape(4, 1, 1, 1).expand_as(left), rtol=0, atol=1e-3)
    assert 0 < shares.min() < shares.max() < 1


@pytest.mark.parametrize("name", ["se_shake_shake_26_2x96d", "se_shake_even_29_2x4x64d"])
def test_evaluation_compiles_to_one_graph(name):
    model = create_model(name, layers=(1, 1, 1), widths=(16, 32, 64)).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        compiled = torch.compile(model, backend="eager", fullgraph=True)(x)
        torch.testing.assert_close(compiled, model(x))


def test_an_unknown_backward_is_refused():
    with pytest.raises(ValueError, match="backward must be one of"):
        create_model("shake_shake_26_2x96d", backward="keep")
