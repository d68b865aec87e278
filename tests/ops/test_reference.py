"""The paper's equations, computed by hand."""

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


@pytest.mark.parametrize("space", [(5,), (4, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("with_channel", [True, False])
def test_a_masked_squeeze_is_the_mean_over_what_counts(space, with_channel):
    u = torch.randn(3, 2, *space)
    mask = torch.rand(3, *space) < 0.5
    mask[1] = False  # an image of nothing but padding
    z = squeeze(u, mask[:, None] if with_channel else mask)
    for b, c in ((0, 0), (0, 1), (2, 0), (2, 1)):
        torch.testing.assert_close(z[b, c], u[b, c][mask[b]].mean())
    assert torch.equal(z[1], torch.zeros(2))
    torch.testing.assert_close(squeeze(u, torch.ones_like(mask)), squeeze(u))


@pytest.mark.parametrize("type_", [torch.float16, torch.bfloat16])
def test_a_masked_squeeze_of_a_half_map_neither_overflows_nor_loses_digits(type_):
    u = torch.full((1, 1, 64, 64), 60000.0 if type_ == torch.float16 else 3.0, dtype=type_)
    mask = torch.rand(1, 64, 64) < 0.9
    assert squeeze(u, mask).dtype == type_
    assert torch.equal(squeeze(u, mask), u[:, :, 0, 0])


@pytest.mark.parametrize(
    ("mask", "got"),
    [
        (torch.ones(2, 5), "torch.float32"),
        (torch.ones(2, 4, dtype=torch.bool), r"\(2, 4\)"),
        (torch.ones(5, dtype=torch.bool), r"\(5,\)"),
        (torch.ones(2, 3, 5, dtype=torch.bool), r"\(2, 3, 5\)"),
        (torch.ones(1, 1, 5, dtype=torch.bool), r"\(1, 1, 5\)"),
    ],
    ids=str,
)
def test_a_mask_that_does_not_fit_is_refused(mask, got):
    with pytest.raises(ValueError, match=rf"must be boolean.*of shape \(2, 5\); got.*{got}"):
        squeeze(torch.randn(2, 3, 5), mask)


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
