import pytest
import torch

from senet.nn import ConcurrentSqueezeExcitation, SqueezeExcitation


@pytest.mark.parametrize("combine", ["sum", "max"])
@pytest.mark.parametrize("space", [(7,), (3, 4), (2, 3, 4)], ids=str)
def test_channels_and_positions_by_hand(space, combine):
    scse = ConcurrentSqueezeExcitation(6, 2, combine=combine)
    u = torch.randn(2, 6, *space)
    w, b = scse.spatial.weight.flatten(), scse.spatial.bias
    q = torch.sigmoid(torch.einsum("c,bc...->b...", w, u) + b)
    torch.testing.assert_close(scse.spatial_gates(u), q[:, None])
    for c in range(6):
        ours = u[1, c] * scse.gates(u)[1, c], u[1, c] * q[1]
        wanted = sum(ours) if combine == "sum" else torch.maximum(*ours)
        torch.testing.assert_close(scse(u)[1, c], wanted)


def test_the_channel_half_is_se():
    scse = ConcurrentSqueezeExcitation(32, 4)
    se = SqueezeExcitation(32, 4)
    se.load_state_dict({k: v for k, v in scse.state_dict().items() if k.startswith("fc")})
    u = torch.randn(2, 32, 5, 5)
    torch.testing.assert_close(scse.gates(u), se.gates(u))


def test_an_unknown_combination_is_refused():
    with pytest.raises(ValueError, match=r"combine must be one of .*'sum', 'max'.*got 'mean'"):
        ConcurrentSqueezeExcitation(32, combine="mean")


def test_a_bottleneck_without_channels_is_refused():
    with pytest.raises(ValueError, match="reduction=16 leaves no channel of channels=8"):
        ConcurrentSqueezeExcitation(8)
