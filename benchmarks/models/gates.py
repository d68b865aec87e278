"""What any gate costs in training: ``python -m benchmarks.models.gates``.

A training step of a ResNet-50 at 224×224, batch 16, without a gate and with one of every kind, all
accelerated, in turn in one process with the default allocator. Nothing but the tails runs on the
passes: each gate is what its author wrote, in PyTorch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks import record
from senet import accelerate, create_model
from senet.models.describe.cost import in_turn, training_step
from senet.surgery import replace_se


class Gated(nn.Module):
    """A map, scaled by the gates that some layers compute from its mean over space."""

    def __init__(self, *layers: nn.Module, factor: float = 1.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.factor * self.layers(x.mean((2, 3))))[:, :, None, None]


def with_norm(C: int) -> Gated:
    """Return SE with a norm between its layers."""
    R = C // 16
    return Gated(
        nn.Linear(C, R), nn.LayerNorm(R), nn.ReLU(), nn.Linear(R, C), nn.Sigmoid()
    )  # fmt: skip


def with_softmax(C: int) -> Gated:
    """Return SE whose gates compete: their sum over the channels is C."""
    R = C // 16
    return Gated(nn.Linear(C, R), nn.ReLU(), nn.Linear(R, C), nn.Softmax(1), factor=C)


GATES = {
    "none": None,
    "SE": "se",
    "ECA": "eca",
    "effective SE": "ese",
    "SE with a norm between its layers": with_norm,
    "SE that ends in a softmax": with_softmax,
}


def measure(repeats: int) -> list[dict[str, object]]:
    """Return the milliseconds of a step with each gate."""
    images = torch.randn(16, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    calls = {}
    for name, gate in GATES.items():
        model = create_model("se_resnet50" if gate else "resnet50")
        if gate:
            replace_se(model, by=gate)
        accelerate(model.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        calls[name] = training_step(model, images)
    rows = [{"gate": name, "ms": ms} for name, ms in in_turn(calls, repeats).items()]
    print(*rows, sep="\n", flush=True)
    return rows


if __name__ == "__main__":
    torch.set_num_threads(2)
    environment = record.environment()
    print(record.write("cpu-gates", {"gates": measure(7)}, environment))
