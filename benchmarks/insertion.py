"""SE inserted into trained networks: what they compute before and after a short fine-tuning.

``make insertion`` (minutes; needs the development data) takes akamaster's plain CIFAR-10 ResNet-20
and ResNet-56, each as it is and with :func:`senet.surgery.insert_se`. It evaluates them on all
10,000 test images before any training, compares the logits of the first 1,000 with those without
SE, and evaluates again after fine-tuning with the same steps, images, order and augmentation, at
two learning rates: both are reported, so that none is chosen. Finished runs are kept in
``runs/insertion``, so that it can be done in pieces: ``python -m benchmarks.insertion
resnet20_cifar plain --lr 0.01``. The record is written once all are there.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import DEVELOPMENT_DATA, record
from senet import create_model
from senet.data import Source, loader
from senet.data.batches import Batches
from senet.data.mosaic import open_mosaic
from senet.gates import recording
from senet.models.weights.file import load_state, read_state
from senet.preprocessing import IMAGENET
from senet.runs.folder import write_json
from senet.surgery import insert_se
from senet.training.config import TrainConfig
from senet.training.evaluate import metrics, predict_split
from senet.training.module import Classifier
from senet.training.recipes import cifar
from senet.training.schedule import learning_rate

FOLDER = Path("runs/insertion")
# The weights, their published test accuracy, and the steps of 128 images to train: one epoch has
# 390.
NETWORKS = {
    "resnet20_cifar": ("resnet20-12fca82f.th", 0.9173, 390),
    "resnet56_cifar": ("resnet56-4bfd9763.th", 0.9339, 130),
}
FORMS = ("plain", "SE")
RATES = (0.01, 0.001)


def make(name: str, form: str) -> tuple[nn.Module, int]:
    """Return the published network, and the number of parameters that SE adds to it."""
    model = create_model(name)
    load_state(model, read_state(DEVELOPMENT_DATA / "weights" / NETWORKS[name][0]))
    before = sum(p.numel() for p in model.parameters())
    if form == "SE":
        torch.manual_seed(0)
        print(insert_se(model))
    added = sum(p.numel() for p in model.parameters()) - before
    return model.to(memory_format=torch.channels_last), added  # type: ignore[call-overload]


def run(name: str, lr: float, form: str, source: Source) -> dict[str, Any]:
    """Evaluate, fine-tune, evaluate."""
    model, added = make(name, form)
    _, published, steps = NETWORKS[name]
    changes = {"lr": lr, "schedule": "cosine", "milestones": (), "epochs": 1, "device": "cpu"}
    config = replace(cifar(), model=name, **changes)
    logits, before = evaluate(model, source)
    if abs(before["accuracy"] - published) > 0.0002:  # two images of 10,000, for other kernels
        raise RuntimeError(f"{name}, {form}: {before} before training, published is {published}")
    found: dict[str, Any] = {"network": name, "form": form, "added_parameters": added}
    if form == "SE":
        few = replace(source, test=source.test.subset(np.arange(1000)))
        plain, _ = evaluate(make(name, "plain")[0], few)
        found["largest_change_of_a_logit"] = float(abs(logits[:1000] - plain).max())
    found |= {"lr": lr, "steps": steps, "batch": config.batch_size, "before": before}
    found["seconds"] = fine_tune(model, config, source, steps)
    found["after"] = evaluate(model, source)[1]
    if form == "SE":
        found["gates_off_1"] = gates_off_1(model, source)
    print(found, flush=True)
    return found


def fine_tune(model: nn.Module, config: TrainConfig, source: Source, steps: int) -> float:
    """Train ``steps`` steps of one epoch, with a cosine schedule; return the seconds it took."""
    task = Classifier(model.train(), len(source.classes), config, source.preprocessing, steps)
    optimizer = task.configure_optimizers()
    batches = loader(
        source.train, config.batch_size, shuffle=True, seed=config.seed, drop_last=True
    )
    begun = time.perf_counter()
    for step, (images, labels) in enumerate(islice(batches, steps)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step, steps)
        x, targets = task.augmented(images, labels, step)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), targets).backward()
        optimizer.step()
    return time.perf_counter() - begun


def evaluate(model: nn.Module, source: Source) -> tuple[np.ndarray, dict[str, float]]:
    """Return the logits of all test images, and their accuracy and loss."""
    labels, logits = predict_split(model, source.test, source.preprocessing, device="cpu")
    found = metrics(labels, logits, source.classes)
    return logits, {"accuracy": found["accuracy"], "loss": found["loss"]}


@torch.inference_mode()
def gates_off_1(model: nn.Module, source: Source) -> float:
    """Return the mean of |s − 1| over all gates on 256 test images: how far training moved them."""
    images, _ = next(iter(Batches(source.test, source.preprocessing)))
    with recording(model) as latest:
        model.eval()(images)
    return float(torch.cat([(seen.s - 1).abs().flatten() for seen in latest.values()]).mean())


def kept(name: str, lr: float, form: str) -> Path:
    return FOLDER / f"{name}-{form}-{lr:g}.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.insertion",
        description="Insert SE into trained networks and fine-tune them.",
    )
    parser.add_argument("network", nargs="?", choices=NETWORKS, help="only this network")
    parser.add_argument("form", nargs="?", choices=FORMS, help="only this form")
    parser.add_argument("--lr", type=float, choices=RATES, help="only this learning rate")
    options = parser.parse_args()
    if not DEVELOPMENT_DATA.is_dir():
        parser.error(f"this needs the development data, but there is no {DEVELOPMENT_DATA}")
    record.keep_memory("benchmarks.insertion")
    torch.set_num_threads(2)
    environment = record.environment()
    preprocessing = replace(IMAGENET, size=32, crop=1.0)  # akamaster's, which are ImageNet's
    source = open_mosaic(DEVELOPMENT_DATA / "cifar10", val_share=0.0, preprocessing=preprocessing)
    FOLDER.mkdir(parents=True, exist_ok=True)
    names = [options.network] if options.network else NETWORKS
    forms = [options.form] if options.form else FORMS
    rates = [options.lr] if options.lr else RATES
    for chosen in product(names, rates, forms):
        if not kept(*chosen).exists():
            write_json(kept(*chosen), run(*chosen, source))
    every = [kept(*chosen) for chosen in product(NETWORKS, RATES, FORMS)]
    if all(file.exists() for file in every):
        rows = [json.loads(file.read_text()) for file in every]
        print(record.write("cpu-insertion", {"insertion": rows}, environment))


if __name__ == "__main__":
    main()
