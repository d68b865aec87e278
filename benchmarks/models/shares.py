"""Where the time of a training step goes: ``python -m benchmarks.models.shares``.

torch.profiler measures our SE-ResNet-50 and timm's, with batch 16 at 224×224, and our SE-ResNet-20
of CIFAR with batch 128. A share says what is left to gain: the convolutions, which nothing here
makes faster, bound everything else.
"""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import record
from benchmarks.models import networks

GROUPS = {
    "convolutions": ("aten::mkldnn_convolution", "aten::convolution_backward"),
    # The halves of a tail, which are not operators: by the names of their autograd functions.
    "tails forward": ("_NormSqueeze", "_NormScale", "_ActSqueeze", "_ActScale"),
    "tails backward": tuple(
        f"_{norm}{half}Backward" for norm in ("Norm", "Act") for half in ("Squeeze", "Scale")
    ),
    "batch norm of PyTorch": ("aten::native_batch_norm", "aten::native_batch_norm_backward"),
    "ReLU, additions, products": (
        "aten::add", "aten::add_", "aten::mul", "aten::clamp_min", "aten::clamp_min_",
        "aten::threshold_backward",
    ),
}  # fmt: skip


# Until no step takes fresh memory, whose pages would be charged to whatever writes them first.
WARM_UP = 4


def measure(steps: int = 3) -> dict[str, dict[str, float]]:
    """Return the milliseconds per step in each group of operators, and in all others."""
    large, small = networks._images(16, 224), networks._images(128, 32)
    forms = {
        "se_resnet50": networks.training_step(networks._ours("se_resnet50"), large),
        "timm seresnet50": networks.training_step(networks._timm("seresnet50"), large),
        "se_resnet20_cifar": networks.training_step(networks._ours("se_resnet20_cifar"), small),
    }
    found: dict[str, dict[str, float]] = {}
    for name, step in forms.items():
        for _ in range(WARM_UP):
            step()
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            for _ in range(steps):
                step()
        ms = {e.key: e.self_cpu_time_total / 1000 / steps for e in seen.key_averages()}
        groups = {g: sum((ms.get(k, 0.0) for k in keys), 0.0) for g, keys in GROUPS.items()}
        groups["all else"] = sum(ms.values()) - sum(groups.values())
        found[name] = groups
        print(name, {k: round(v, 1) for k, v in groups.items()}, flush=True)
    return found


if __name__ == "__main__":
    record.keep_memory("benchmarks.models.shares")
    torch.set_num_threads(2)
    environment = record.environment()
    print(record.write("cpu-shares", {"shares": measure()}, environment))
