"""What ``accelerate`` gains on networks of timm and torchvision: a training step, before and after.

``python -m benchmarks.models.surgery``: float32, channels last, batch 16 at 224×224, each network
against its accelerated copy, taken in turn.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks import record
from benchmarks.models import networks
from benchmarks.world import load
from senet.models.cost import in_turn
from senet.surgery import accelerate

TIMM = (
    "seresnet50",
    "resnet50",
    "legacy_seresnext50_32x4d",
    "regnety_016",
    "efficientnet_b0",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
)
TORCHVISION = ("resnet50", "mobilenet_v3_large", "regnet_y_1_6gf")


def measure(library: str, name: str, batch: int, repeats: int) -> dict[str, object]:
    """Milliseconds of a training step and of inference, as it is and accelerated."""
    make = (
        load().timm.create_model if library == "timm" else getattr(load().torchvision.models, name)
    )
    model = make(name) if library == "timm" else make()
    model = model.to(memory_format=torch.channels_last)
    fast = accelerate(model, inplace=False)
    images = networks._images(batch, 224)
    found: dict[str, object] = {"network": f"{library} {name}", "changed": len(fast.changed)}
    for what, call in (("training", networks._step), ("inference", networks._inference)):
        forms = {"as it is": call(model, images), "accelerated": call(fast.model, images)}
        found[what] = in_turn(forms, repeats)
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.models.surgery", description=__doc__
    )
    parser.add_argument("--only", help="one network, as `timm:seresnet50`; not recorded")
    parser.add_argument("--repeats", type=int, default=7, help="rounds; the median is kept (7)")
    options = parser.parse_args()
    record.keep_memory("benchmarks.models.surgery")
    torch.set_num_threads(2)
    environment = record.environment()
    if options.only:
        library, name = options.only.split(":")
        measure(library, name, 16, options.repeats)
        return
    every = [("timm", n) for n in TIMM] + [("torchvision", n) for n in TORCHVISION]
    rows = [measure(library, name, 16, options.repeats) for library, name in every]
    print(record.write("cpu-surgery", {"surgery": rows}, environment))


if __name__ == "__main__":
    main()
