import torch
from torch import nn

from senet.models.describe.cost import image_ms


class Probe(nn.Module):
    """Notes when it runs, and in which state."""

    calls: list = []  # noqa: RUF012 - of the class: a copy of the module must write here too

    def forward(self, x):
        self.calls.append((x.shape[2], self.training, torch.is_grad_enabled()))
        return x


def test_networks_are_timed_in_turn_in_evaluation():
    Probe.calls.clear()
    probe = Probe().train()
    times = image_ms([(probe, (3, 8, 8)), (probe, (3, 4, 4))], repeats=3)
    # Twice in each turn: the second counts.
    assert Probe.calls == ([(8, False, False)] * 2 + [(4, False, False)] * 2) * 3
    assert len(times) == 2
    assert min(times) > 0
    assert probe.training
