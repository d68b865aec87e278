"""What ``accelerate`` does to networks of timm and torchvision: what it changes, and the speed.

``python -m benchmarks.models.surgery`` measures float32, channels last, batch 16 at 224×224, about
ten minutes on two cores. Each of ``TIMED`` is compared with its accelerated copy, in turn, in its
own process, with the default allocator; two of them also with one that keeps its memory
(:func:`benchmarks.record.keep_memory`). It may be stopped: what is in the record of the day is not
measured again.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
from typing import Any

import torch
from torch import nn

from benchmarks import record
from benchmarks.ledger import Ledger, Row
from benchmarks.models import networks
from benchmarks.reference_libraries import load
from benchmarks.scramble import scramble
from senet import accelerate
from senet.models.describe.cost import in_turn

# tests/fuse/test_world.py checks each of them against the oracle.
NETWORKS = (
    "timm:seresnet50",
    "timm:resnet50",
    "torchvision:resnet50",
    "timm:regnety_016",
    "timm:efficientnet_b0",
    "timm:mobilenetv3_small_100",
    "timm:seresnext26t_32x4d",
    "timm:legacy_seresnet18",
    "timm:legacy_seresnext26_32x4d",
    "timm:resnet26d",
    "timm:ecaresnet26t",
    "timm:resnest14d",
    "timm:skresnet18",
    "timm:res2net50_26w_4s",
    "timm:gernet_s",
    "timm:regnetx_004",
    "timm:regnety_004",
    "timm:dla34",
    "timm:hrnet_w18_small",
    "timm:densenet121",
    "timm:mnasnet_small",
    "timm:ese_vovnet19b_dw",
    "timm:selecsls42b",
    "torchvision:resnet18",
    "torchvision:resnet34",
    "torchvision:resnext50_32x4d",
    "torchvision:mobilenet_v2",
    "torchvision:mobilenet_v3_small",
    "torchvision:efficientnet_b0",
    "torchvision:regnet_y_400mf",
    "torchvision:shufflenet_v2_x1_0",
    "torchvision:densenet121",
    "torchvision:googlenet",
)
# One of each kind, and those that lost in an earlier record. (Training timm's gernet_s at this size
# on a CPU ends in "double free or corruption", even unmodified: PyTorch 2.13.0+cpu, Intel Xeon.)
TIMED = (
    "timm:seresnet50",
    "timm:efficientnet_b0",
    "timm:resnet50",
    "timm:regnety_016",
    "timm:mobilenetv3_small_100",
    "timm:legacy_seresnet18",
    "timm:skresnet18",
    "timm:ecaresnet26t",
    "timm:ese_vovnet19b_dw",
    "timm:regnetx_004",
    "torchvision:mobilenet_v2",
    "torchvision:regnet_y_400mf",
    "torchvision:shufflenet_v2_x1_0",
    "torchvision:googlenet",
)
KEPT = ("timm:seresnet50", "timm:efficientnet_b0")


def make(network: str, **options: Any) -> nn.Module:
    """Return a network by its library and its name there, such as ``timm:seresnet50``."""
    library, name = network.split(":")
    if library == "timm":
        return load().timm.create_model(name, **options)
    if name in ("googlenet", "inception_v3"):  # they initialise slowly
        options |= {"init_weights": False, "aux_logits": False}
    return load().torchvision.models.get_model(name, **options)


def measure(network: str, repeats: int) -> dict[str, Any]:
    """Return what was found, how far outputs differ, and the milliseconds before and after."""
    torch.manual_seed(0)
    model = make(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = networks._images(16, 224)
    report = accelerate(model, images, inplace=False)
    found: dict[str, Any] = {
        "network": network,
        "repeats": repeats,
        "changed": len(report.changed),
        "left alone": len(report.left_alone),
        "difference": _difference(model, images),
    }
    for what, call in (("training", networks.training_step), ("inference", networks.forward_pass)):
        forms = {"as it is": call(model, images), "accelerated": call(report.model, images)}
        found[what] = in_turn(forms, repeats)
    return found


@torch.no_grad()
def _difference(model: nn.Module, images: torch.Tensor) -> float:
    """Return the largest difference of an output, relative to the largest output.

    It takes a scrambled copy: in a new network, statistics of 0 and 1 and zero branches hide it.
    """
    model = copy.deepcopy(model).eval()
    scramble(model)
    wanted, got = model(images), accelerate(model).model(images)
    return float((got - wanted).abs().max() / wanted.abs().max())


def in_a_process(network: str, allocator: str, repeats: int) -> dict[str, Any]:
    """Call :func:`measure` in its own process, with this allocator."""
    command = [sys.executable, "-m", "benchmarks.models.surgery", "--only", network]
    environment = os.environ | (record.KEEPING if allocator == "keeps memory" else {})
    done = subprocess.run(
        [*command, "--repeats", str(repeats)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.models.surgery", description=__doc__
    )
    parser.add_argument("--only", help="one network, such as timm:seresnet50; not recorded")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the median is kept (3)")
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.only:
        print(json.dumps(measure(options.only, options.repeats)))
        return
    environment = record.environment() | {"allocator": "of each row"}
    ledger = Ledger(record.RESULTS, "surgery", environment, "cpu")
    for network in (n for n in TIMED if {"network": n} not in ledger):
        row: Row = {"network": network}
        for allocator in ("default", "keeps memory") if network in KEPT else ("default",):
            row[allocator] = in_a_process(network, allocator, options.repeats)
            print(allocator, row[allocator], flush=True)
        ledger.put(row, {"network": network})
        print(ledger.path)


if __name__ == "__main__":
    main()
