import pytest
import torch
from torch import nn

from senet.nn import EffectiveSqueezeExcitation, norm_act, norm_act_se
from senet.nn.attention import rescale
from senet.ops import backend


@pytest.mark.parametrize("space", [(7,), (3, 4), (2, 3, 4)], ids=str)
def test_one_layer_and_a_hard_sigmoid(space):
    ese = EffectiveSqueezeExcitation(6)
    u = torch.randn(2, 6, *space) * 9  # so that some gates are shut and some are open
    z = u.flatten(2).mean(2)
    x = z @ ese.fc.weight.flatten(1).T + ese.fc.bias
    s = (x + 3).clamp(0, 6) / 6
    torch.testing.assert_close(ese.gates(u), s)
    torch.testing.assert_close(ese(u)[1, 4], u[1, 4] * s[1, 4])


@pytest.mark.skipif(bool(backend.missing("native")), reason="needs the C backend")
@pytest.mark.parametrize("activation", [None, nn.ReLU()], ids=["norm", "norm and ReLU"])
def test_on_the_passes_it_is_the_same(activation):
    bn, ese = nn.BatchNorm2d(6), EffectiveSqueezeExcitation(6)
    x, sent = torch.randn(3, 6, 5, 4, requires_grad=True), torch.randn(3, 6, 5, 4)
    wanted = [bn(x)] if activation is None else [activation(bn(x))]
    wanted = [rescale(wanted[0], ese.gates(wanted[0]))]
    inputs = [x, *bn.parameters(), *ese.parameters()]
    wanted += torch.autograd.grad(wanted[0], inputs, sent)
    if activation is None:
        y = norm_act(x, bn, ese, relu=False)
    else:
        y = norm_act_se(x, bn, activation, ese)
    assert type(y.grad_fn).__name__ in ("_TailBackward", "_UnitBackward")  # SE is inside
    for got, want in zip([y, *torch.autograd.grad(y, inputs, sent)], wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_real_timm_has_the_same_block(world):
    theirs = world.timm.layers.EffectiveSEModule(48)
    ours = EffectiveSqueezeExcitation(48)
    ours.load_state_dict(theirs.state_dict())
    u = torch.randn(2, 48, 5, 4, requires_grad=True)
    a, b = ours(u), theirs(u)
    torch.testing.assert_close(a, b)
    sent = torch.randn_like(a)
    for got, wanted in zip(
        torch.autograd.grad(a, [u, *ours.parameters()], sent),
        torch.autograd.grad(b, [u, *theirs.parameters()], sent),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
