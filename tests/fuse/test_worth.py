"""Networks are exported where there is much to compute, and results do not depend on that."""

import pytest
import torch
from torch import nn

from senet.fuse import worth
from senet.fuse.freeze import Frozen
from senet.fuse.worth import fast_for
from tests.fuse.blocks import small


@pytest.mark.parametrize(("images", "frozen"), [(100, False), (1 << 17, True)])
def test_many_images_are_worth_an_export(images, frozen):
    model = small().eval()
    fast = fast_for(model, images, torch.zeros(2, 3, 19, 19))
    assert isinstance(fast, Frozen) == frozen
    assert (fast is model) != frozen
    x = torch.randn(3, 3, 19, 19)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-5)


class Impossible(nn.Module):
    def forward(self, x):
        return x * int(x.sum().item())


def test_a_network_that_cannot_be_exported_runs_as_it_is(monkeypatch):
    monkeypatch.setattr(worth, "WORTH", 1)
    model = Impossible()
    assert fast_for(model, 10, torch.zeros(2, 3, 8, 8)) is model
