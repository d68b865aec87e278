import pytest
import torch

from senet.nn import EffectiveSqueezeExcitation


@pytest.mark.parametrize("space", [(7,), (3, 4), (2, 3, 4)], ids=str)
def test_one_layer_and_a_hard_sigmoid(space):
    ese = EffectiveSqueezeExcitation(6)
    u = torch.randn(2, 6, *space) * 9  # so that some gates are shut and some are open
    z = u.flatten(2).mean(2)
    x = z @ ese.fc.weight.flatten(1).T + ese.fc.bias
    s = (x + 3).clamp(0, 6) / 6
    torch.testing.assert_close(ese.gates(u), s)
    torch.testing.assert_close(ese(u)[1, 4], u[1, 4] * s[1, 4])


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
