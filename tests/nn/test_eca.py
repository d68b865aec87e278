import pytest
import torch

from senet.nn import EfficientChannelAttention
from senet.nn.eca import adaptive_kernel_size


@pytest.mark.parametrize("space", [(7,), (3, 4), (2, 3, 4)], ids=str)
def test_each_gate_sees_its_neighbours(space):
    eca = EfficientChannelAttention(6, kernel_size=3)
    u = torch.randn(2, 6, *space)
    z = u.flatten(2).mean(2)
    a, b, c = eca.conv.weight.flatten()
    for k in range(6):
        before = z[:, k - 1] if k > 0 else 0
        after = z[:, k + 1] if k < 5 else 0
        s = torch.sigmoid(a * before + b * z[:, k] + c * after)
        torch.testing.assert_close(eca.gates(u)[:, k], s)
        torch.testing.assert_close(eca(u)[1, k], u[1, k] * s[1])


def test_the_kernel_is_the_odd_number_nearest_to_the_papers():
    for channels in range(2, 5000):
        t = (torch.tensor(channels, dtype=torch.float64).log2().item() + 1) / 2
        odd = min(range(1, 12, 2), key=lambda k: (abs(k - t), -k))
        assert adaptive_kernel_size(channels) == odd, channels


def test_real_timm_has_the_same_block(world):
    for channels in (8, 64, 128, 512, 2048):
        theirs = world.timm.layers.EcaModule(channels)
        ours = EfficientChannelAttention(channels)
        ours.load_state_dict(theirs.state_dict())
        u = torch.randn(2, channels, 5, 4, requires_grad=True)
        a, b = ours(u), theirs(u)
        torch.testing.assert_close(a, b)
        sent = torch.randn_like(a)
        for got, wanted in zip(
            torch.autograd.grad(a, [u, ours.conv.weight], sent),
            torch.autograd.grad(b, [u, theirs.conv.weight], sent),
            strict=True,
        ):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel_size", [0, -1, 4])
def test_a_kernel_without_a_middle_is_refused(kernel_size):
    with pytest.raises(ValueError, match=f"must be odd and at least 1.*got {kernel_size}"):
        EfficientChannelAttention(16, kernel_size)


def test_no_channels_are_refused():
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        EfficientChannelAttention(0)
