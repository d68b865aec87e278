import torch
from torch import nn

from senet.models import create_model
from senet.models.describe.cost import image_ms, in_turn_times


class Probe(nn.Module):
    """A network that notes when it runs, and in which state."""

    calls: list = []  # noqa: RUF012 - of the class, since a copy of the module must write here too

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


def test_what_is_timed_is_made_ready_on_a_copy():
    model, seen = create_model("se_resnet8_cifar"), []

    def ready(name, copy):
        seen.append(name)
        assert copy is not model
        copy.forward = lambda x: (seen.append("called"), type(copy).forward(copy, x))[1]

    in_turn_times({"a": model}, (3, 8, 8), 2, repeats=1, ready=ready)
    assert seen == ["a", "called", "called"] * 2  # a training step, and inference
    assert "forward" not in vars(model)
