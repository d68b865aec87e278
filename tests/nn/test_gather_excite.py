import pytest
import torch

from senet.nn import GatherExcite


@pytest.mark.parametrize("space", [(7,), (3, 4), (2, 3, 4), (2, 2, 2, 2)], ids=str)
def test_the_global_extent_gates_by_the_mean(space):
    u = torch.randn(2, 6, *space)
    s = torch.sigmoid(u.flatten(2).mean(2))
    torch.testing.assert_close(GatherExcite(6).gates(u), s)
    torch.testing.assert_close(GatherExcite(6)(u)[1, 2], u[1, 2] * s[1, 2])


@pytest.mark.parametrize("extent", [1, 2, 4, 8])
def test_windows_by_hand(extent):
    """Window k is centred on position k · extent, and reaches to the centres of its neighbours."""
    u = torch.randn(1, 1, 8)
    s = GatherExcite(1, extent).gates(u)
    for position in range(8):
        centre = position // extent * extent
        window = u[0, 0, max(centre - extent + 1, 0) : centre + extent]
        torch.testing.assert_close(s[0, 0, position], window.mean().sigmoid())


def test_all_dimensions_pool_alike():
    line = torch.randn(2, 3, 9)
    wanted = GatherExcite(3, 2)(line)
    plane = line[:, :, None].expand(-1, -1, 9, -1)
    torch.testing.assert_close(GatherExcite(3, 2)(plane)[:, :, 4], wanted)
    cube = line[:, :, None, None].expand(-1, -1, 9, 9, -1)
    torch.testing.assert_close(GatherExcite(3, 2)(cube)[:, :, 4, 4], wanted)


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 5), (3, 3)], ids=str)
@pytest.mark.parametrize("extent", [None, 2, 4, 8])
def test_real_timm_has_the_same_block(world, extent, size):
    theirs = world.timm.layers.GatherExcite(8, extent=extent or 0, use_mlp=False)
    ours = GatherExcite(8, extent)
    u = torch.randn(2, 8, *size, requires_grad=True)
    a, b = ours(u), theirs(u)
    torch.testing.assert_close(a, b)
    sent = torch.randn_like(a)
    (got,), (wanted,) = (torch.autograd.grad(y, [u], sent) for y in (a, b))
    torch.testing.assert_close(got, wanted)


def test_an_extent_out_of_range_is_refused():
    with pytest.raises(ValueError, match="extent must be at least 1, or None for global, got 0"):
        GatherExcite(8, 0)
    with pytest.raises(ValueError, match=r"1 to 3 spatial dimensions, got \[1, 8, 2, 2, 2, 2\]"):
        GatherExcite(8, 2)(torch.randn(1, 8, 2, 2, 2, 2))


def test_there_is_nothing_to_learn():
    assert not GatherExcite(8).state_dict()
    assert not GatherExcite(8, 4).state_dict()
