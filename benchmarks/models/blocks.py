"""What ``accelerate`` gains on the SE blocks of other fields.

``python -m benchmarks.models.blocks`` times each network of :mod:`benchmarks.other_fields`, the
convolutions around the block included, at a size that is usual in its field: float32, contiguous
as those projects have it, two threads, the default allocator. Of MONAI's whole networks it is the
stem and a block of each of two stages. Training is a forward and a backward pass, with the gradient
of the input; inference is a forward pass. Each network takes turns with its accelerated copy. It
may be stopped: what is in the record of the day is not measured again.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import record
from benchmarks.ledger import Ledger
from benchmarks.other_fields import NETWORKS
from senet import accelerate
from senet.models.describe.cost import in_turn

SEQUENCE, IMAGE, VOLUME = (8, 512, 300), (16, 128, 28, 28), (2, 32, 48, 48, 48)
SHARES = torch.linspace(1, 0.3, 8)
LENGTHS = (SHARES * SEQUENCE[2]).long()

# The channels of the network, the shape of its input, and what else it is called with.
SIZES: dict[str, tuple[int, tuple[int, ...], *tuple[Tensor, ...]]] = {
    "MONAI ChannelSELayer, 1-D": (64, (8, 64, 4096)),
    "MONAI ChannelSELayer, 2-D": (128, IMAGE),
    "MONAI ChannelSELayer, 3-D": (32, VOLUME),
    "MONAI ResidualSELayer": (32, VOLUME),
    "MONAI SEBlock": (32, VOLUME),
    "MONAI SEResNet50, 2-D": (64, (4, 3, 224, 224)),
    "MONAI SEResNet50, 3-D": (64, (1, 1, 64, 64, 64)),
    "MONAI SENet154": (64, (4, 3, 224, 224)),
    "nnU-Net SqueezeExcite, 2-D": (32, (8, 32, 128, 128)),
    "nnU-Net SqueezeExcite, 3-D": (32, VOLUME),
    "speechbrain SEBlock": (512, SEQUENCE),
    "speechbrain SEBlock with lengths": (512, SEQUENCE, SHARES),
    "wespeaker SE_Connect": (512, SEQUENCE),
    "NeMo SqueezeExcite": (512, SEQUENCE, LENGTHS),
    "NeMo SqueezeExcite, windowed": (512, SEQUENCE, LENGTHS),
    "segmentation_models_pytorch SCSEModule": (64, (8, 64, 56, 56)),
    "mmpretrain SELayer": (128, IMAGE),
    "fastai SEModule": (128, IMAGE),
    "pytorchvideo SqueezeExcitation (X3D)": (54, (2, 54, 13, 40, 40)),
    "torchaudio Conformer": (256, (8, 300, 256)),
    "SE in the neck of a YOLO": (128, (8, 128, 40, 40)),
}


def measure(name: str, repeats: int) -> dict[str, Any]:
    """Return what runs on the passes, and the milliseconds of both forms in both modes."""
    torch.manual_seed(0)
    channels, shape, *more = SIZES[name]
    model, x = NETWORKS[name](channels), torch.randn(shape)
    fast = copy.deepcopy(model)
    report = accelerate(fast)
    forms = {"as it is": model, "accelerated": fast}
    found: dict[str, Any] = {"block": name, "input": "×".join(map(str, shape))}
    for what, call in (("training", _training), ("inference", _inference)):
        calls = {form: call(network, x, *more) for form, network in forms.items()}
        found[what] = in_turn(calls, repeats)
    return found | {"tails": len(report.changed)}


def _training(model: nn.Module, x: Tensor, *more: Tensor) -> Callable[[], None]:
    model.train()
    x = x.clone().requires_grad_()
    sent = torch.randn_like(model(x, *more))

    def step() -> None:
        model.zero_grad()
        x.grad = None
        model(x, *more).backward(sent)

    return step


def _inference(model: nn.Module, x: Tensor, *more: Tensor) -> Callable[[], None]:
    model.eval()

    @torch.inference_mode()
    def forward() -> None:
        model(x, *more)

    return forward


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models.blocks", description=__doc__)
    parser.add_argument("--only", help="one row, such as 'fastai SEModule'; not recorded")
    parser.add_argument("--repeats", type=int, default=9, help="rounds; the median is kept (9)")
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.only:
        print(measure(options.only, options.repeats))
        return
    ledger = Ledger(record.RESULTS, "blocks", record.environment(), "cpu")
    for name in (n for n in NETWORKS if {"block": n} not in ledger):
        ledger.put(measure(name, options.repeats), {"block": name})
        print(ledger.find({"block": name}), flush=True)
        torch._dynamo.reset()
    print(ledger.path)


if __name__ == "__main__":
    main()
