"""The paper's equations, by hand."""

import pytest
import torch

from senet.ops.reference import excite, scale, squeeze


@pytest.mark.parametrize("space", [(5,), (4, 5), (2, 3, 4)], ids=str)
def test_squeeze_is_the_mean_over_any_space(space):
    u = torch.randn(2, 3, *space)
    torch.testing.assert_close(squeeze(u), u.reshape(2, 3, -1).mean(2))


@pytest.mark.parametrize("type_", [torch.float16, torch.bfloat16])
def test_squeeze_of_a_half_map_neither_overflows_nor_loses_digits(type_):
    u = torch.full((1, 1, 64, 64), 60000.0 if type_ == torch.float16 else 3.0, dtype=type_)
    assert squeeze(u).dtype == type_
    assert torch.equal(squeeze(u), u[:, :, 0, 0])


def test_excitation_by_hand():
    z = torch.tensor([[1.0, -1.0]])
    w1, b1 = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0.0, 0.5])
    w2, b2 = torch.tensor([[1.0, 9.0], [-1.0, 9.0]]), torch.tensor([0.0, 1.0])
    # W1 z + b1 = (2, -0.5), of which ReLU leaves (2, 0); W2 of that + b2 = (2, -1).
    wanted = torch.tensor([[2.0, -1.0]]).sigmoid()
    torch.testing.assert_close(excite(z, w1, b1, w2, b2), wanted)


def test_scale_multiplies_each_channel_of_each_image():
    u, s = torch.randn(2, 3, 4, 5), torch.rand(2, 3)
    y = scale(u, s)
    assert torch.equal(y[1, 2], u[1, 2] * s[1, 2])
    assert y.shape == u.shape
