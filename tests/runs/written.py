"""Run folders as training leaves them, from networks that were never trained.

The weights are random, the predictions are what these networks really say of the bundled test
images, and the curves are drawn from a seeded generator.
"""

import csv
import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from senet import create_model
from senet.data import open_source
from senet.data.transforms import normalise
from senet.models.describe.cost import multiply_adds, parameters
from senet.models.weights.file import save_model
from senet.models.weights.record import Record
from senet.training.config import TrainConfig

LIMIT = 200
PLAIN, SE = "resnet8_cifar", "se_resnet8_cifar"


@pytest.fixture(scope="session")
def source():
    return open_source("fashion-mnist", limit=LIMIT)


def recipe(name, seed, **more):
    options = {"widths": [4, 8, 16]}
    if name == SE:
        options |= {"reduction": 4, "gate_bias": 1.0}
    options |= more
    return TrainConfig(
        model=name, options=options, data="fashion-mnist", limit=LIMIT, epochs=4, seed=seed
    ).to_dict()


def network(name, seed, **more):
    torch.manual_seed(seed)
    return create_model(name, in_channels=1, **recipe(name, seed, **more)["options"]).eval()


def write_run(folder, source, name, seed=0, epochs=4, **more):
    """Write a training run, unfinished with fewer than four epochs. ``more`` are options."""
    folder.mkdir(parents=True)
    p, model = source.preprocessing, network(name, seed, **more)
    config = {
        "config": recipe(name, seed, **more),
        "data": {
            "name": source.name, "path": None, "classes": list(source.classes),
            "preprocessing": asdict(p), "images": {"train": 180, "val": 20, "test": LIMIT},
            "record": None,
        },
        "environment": {"senet": "0.1.0", "torch": torch.__version__, "device": "cpu"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    write_metrics(folder / "metrics.csv", epochs, seed + (name == SE) / 2)
    if epochs < 4:
        return
    record = Record(model.architecture, p, source.classes)
    save_model(folder / "model.safetensors", model, record)
    with torch.inference_mode():
        logits = model(normalise(source.test.images, p.mean, p.std)).numpy()
    np.savez(folder / "predictions.npz", labels=source.test.labels, logits=logits)
    right = float((logits.argmax(1) == source.test.labels).mean())
    result = {
        "finished": True, "model": name, "seed": seed, "test_accuracy": right, "test_loss": 2.3,
        "test_images": LIMIT, "epochs": 4, "steps": 4, "train_seconds": 31.4, "step_ms": 12.0,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))


def write_metrics(path, epochs, shift):
    noise = np.random.default_rng(round(10 * shift)).normal(0, 0.05, (epochs, 4))
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        names = "epoch step lr train_loss train_accuracy val_loss val_accuracy seconds step_ms"
        table.writerow(names.split())
        for epoch in range(1, epochs + 1):
            a, b, c, d = noise[epoch - 1]
            learned = 1 - 0.7**epoch
            losses = 2.3 * 0.6**epoch + a, learned + b / 4, 2.3 * 0.65**epoch + c, learned + d / 4
            table.writerow([epoch, epoch, 0.1, *losses, 1.5, 12.0])


def write_comparison(folder, source, seeds=(0,), unfinished=(), not_begun=()):
    """Write a comparison; some of its runs, as (name, seed), have not finished or not begun."""
    folder.mkdir(parents=True)
    for name in (PLAIN, SE):
        for seed in seeds:
            if (name, seed) not in not_begun:
                epochs = 2 if (name, seed) in unfinished else 4
                write_run(folder / f"{name}-seed{seed}", source, name, seed, epochs)
    comparison = {
        "plain": PLAIN, "se": SE, "seeds": list(seeds), "data": source.name,
        "runs": {n: [f"{n}-seed{s}" for s in seeds] for n in (PLAIN, SE)},
        "config": recipe(SE, seeds[0]), "finished": not unfinished and not not_begun,
    }  # fmt: skip
    (folder / "comparison.json").write_text(json.dumps(comparison))
    if comparison["finished"]:
        (folder / "cost.json").write_text(json.dumps({n: _cost(n) for n in (PLAIN, SE)}))
    return folder


def write_variation(folder, source, option, values, seeds=(0,), shared=False, unfinished=()):
    """Write a family; some runs, as (name, seed), are unfinished. ``shared``: a twin per value."""
    folder.mkdir(parents=True)
    networks, more = {}, {}
    for value in values:
        text = "+".join(map(str, value)) if isinstance(value, list) else str(value)
        plain, se = PLAIN + f"-{option}={text}" * shared, f"{SE}-{option}={text}"
        networks[plain] = {"model": PLAIN, "twin": None, "value": text if shared else None}
        networks[se] = {"model": SE, "twin": plain, "value": text}
        more |= {plain: {option: value} if shared else {}, se: {option: value}}
    for name, own in networks.items():
        for seed in seeds:
            epochs = 2 if (name, seed) in unfinished else 4
            write_run(
                folder / f"{name}-seed{seed}", source, own["model"], seed, epochs, **more[name]
            )
    comparison = {
        "plain": PLAIN, "se": SE, "vary": {"option": option, "values": values},
        "networks": networks, "seeds": list(seeds), "data": source.name,
        "runs": {n: [f"{n}-seed{s}" for s in seeds] for n in networks},
        "config": recipe(SE, seeds[0]), "finished": not unfinished,
    }  # fmt: skip
    (folder / "comparison.json").write_text(json.dumps(comparison))
    if not unfinished:
        costs = {n: _cost(own["model"], **more[n]) for n, own in networks.items()}
        (folder / "cost.json").write_text(json.dumps(costs))
    return folder


def _cost(name, **more):
    model = network(name, 0, **more)
    (total, se), (adds, se_adds) = parameters(model), multiply_adds(model, (1, 28, 28))
    return {
        "parameters": total, "se_parameters": se, "multiply_adds": adds,
        "se_multiply_adds": se_adds, "step_ms": 12.5 + (se > 0), "image_ms": 0.125,
    }  # fmt: skip


@pytest.fixture(scope="session")
def one_seed(tmp_path_factory, source):
    """A finished comparison of one seed. Do not change it."""
    return write_comparison(tmp_path_factory.mktemp("one") / "run", source)


@pytest.fixture(scope="session")
def family(tmp_path_factory, source):
    """A finished family of three reductions and two seeds. Do not change it."""
    folder = tmp_path_factory.mktemp("family") / "run"
    return write_variation(folder, source, "reduction", [1, 2, 4], (0, 1))


@pytest.fixture(scope="session")
def family_of_one_seed(tmp_path_factory, source):
    """A family of two widths, each with a plain twin, and one seed. Do not change it."""
    folder = tmp_path_factory.mktemp("widths") / "run"
    widths = [[4, 8, 8], [4, 8, 16]]
    return write_variation(folder, source, "widths", widths, shared=True)


@pytest.fixture(scope="session")
def three_seeds(tmp_path_factory, source):
    """A finished comparison of three seeds. Do not change it."""
    return write_comparison(tmp_path_factory.mktemp("three") / "run", source, (3, 4, 5))
