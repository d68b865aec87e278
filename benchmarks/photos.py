"""From a folder of photos to a classifier: how the crop was chosen, and the figures of the page.

The photos are CIFAR-10 as JPEG files of 96 × 96 pixels, the weights are the MobileNetV3-Small of
the development data. ``python -m benchmarks.photos --make FOLDER --draw 3`` writes the photos of
a draw, for the commands of docs/photos.md; ``python -m benchmarks.photos`` runs all of them
and writes the record; it takes half an hour on an idle core. Finished runs are kept in
``runs/photos``, so that it can be stopped and started again.

Training, validation and test photos come from different batches of CIFAR-10. The first training
batch and the test batch are left out: acceptance checks use them, and no choice may.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import DEVELOPMENT_DATA, record
from senet.files import write_text
from senet.runs.folder import RunFolder

FOLDER = Path("runs/photos")
WEIGHTS = DEVELOPMENT_DATA / "weights" / "mobilenetv3_small_keras_imagenet_folded.safetensors"
SIDE = 96
EACH = {"train": 300, "val": 500, "test": 100}
"""Photos of a class."""

# The batches of 10,000 images that the splits of a draw come from.
DRAWS = {2: {"train": 2, "val": 4, "test": 5}, 3: {"train": 3, "val": 5, "test": 4}}
CROPS = (0.875, 0.95, 1.0)


@dataclass(frozen=True)
class Setting:
    """One training: which photos, and what differs from ``senet train --weights``."""

    draw: int
    epochs: int
    crop: float | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        crop = "" if self.crop is None else f"-crop{self.crop:g}"
        return f"draw{self.draw}-epochs{self.epochs}{crop}-seed{self.seed}"

    @property
    def words(self) -> list[str]:
        """Return the options of ``senet train``, after data, network and weights."""
        crop = [] if self.crop is None else ["--set", f"crop={self.crop:g}"]
        return ["--epochs", str(self.epochs), "--seed", str(self.seed), *crop]


# The crop is chosen on probes and on validation photos alone: nobody reads their test photos.
CHOICE = [Setting(draw, 0, crop) for draw in DRAWS for crop in CROPS]
FIGURES = [Setting(3, 0), *(Setting(3, 4, seed=seed) for seed in (0, 1, 2))]


def make(folder: Path, draw: int) -> Path:
    """Write the photos of a draw, the first of every class in the batch of each split."""
    if folder.exists():
        return folder
    aside = folder.with_name(f"{folder.name}.part")
    labels = np.load(DEVELOPMENT_DATA / "cifar10" / "labels.npz")
    names = [str(name) for name in labels["classes"]]
    for split, batch in DRAWS[draw].items():
        images = _tiles(DEVELOPMENT_DATA / "cifar10" / f"data_batch_{batch}.webp")
        own = labels["train"][10_000 * (batch - 1) : 10_000 * batch]
        for number, name in enumerate(names):
            place = aside / split / name
            place.mkdir(parents=True, exist_ok=True)
            for i in np.flatnonzero(own == number)[: EACH[split]]:
                photo = Image.fromarray(images[i]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                photo.save(place / f"{i:05d}.jpg", quality=95)
    return aside.rename(folder)


def _tiles(file: Path) -> np.ndarray:
    mosaic = np.asarray(Image.open(file).convert("RGB")).reshape(100, 32, 100, 32, 3)
    return mosaic.transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)


def run(setting: Setting) -> dict[str, Any]:
    """Do one training, as a user does it, and return its figures."""
    place = RunFolder(FOLDER / setting.name)
    photos = make(FOLDER / f"draw{setting.draw}", setting.draw)
    timed = FOLDER / f"{setting.name}.seconds"
    if not place.finished:
        begun = time.perf_counter()
        what = ["--resume", str(place.path)] if place.begun else ["--out", str(place.path)]
        if not place.begun:
            what += ["--data", str(photos), "--model", "mobilenet_v3_small"]
            what += ["--weights", str(WEIGHTS), *setting.words]
        subprocess.run([sys.executable, "-m", "senet", "train", *what], check=True)
        write_text(timed, f"{time.perf_counter() - begun:.1f}")
    result = place.read_result()
    rows = place.read_table()
    row = {
        "draw": setting.draw,
        "epochs": setting.epochs,
        "crop": setting.crop,
        "seed": setting.seed,
        "photos": 10 * EACH["train"],
        "probe val": result.probe_val_accuracy,
        "val": float(rows[-1]["val_accuracy"]) if rows else result.probe_val_accuracy,
        "seconds": float(timed.read_text()) if timed.exists() else None,
    }
    row |= {"test": result.test_accuracy} if setting in FIGURES else {}
    print(row, flush=True)
    return row


def regression() -> list[dict[str, Any]]:
    """Return scikit-learn's logistic regression on the features of the probe, C of the best val.

    It needs the run of the probe, and nothing is returned without scikit-learn, which senet does
    not need.
    """
    try:
        linear: Any = importlib.import_module("sklearn.linear_model")
        scaling: Any = importlib.import_module("sklearn.preprocessing")
    except ImportError:
        print("scikit-learn is not here: its row is left out")
        return []
    from senet.serving.embed import Embedder

    probe = RunFolder(FOLDER / FIGURES[0].name)
    embedder = Embedder.load(probe.path)
    test = sorted((FOLDER / "draw3" / "test").glob("*/*.jpg"))
    found = embedder.embed([str(file) for file in test])
    names = sorted({file.parent.name for file in test})
    labels = np.array([names.index(file.parent.name) for file in test])
    with np.load(probe.features_file("train")) as train, np.load(probe.features_file("val")) as val:
        scale = scaling.StandardScaler().fit(train["features"])
        fits = {
            10.0**k: linear.LogisticRegression(C=10.0**k, max_iter=2000).fit(
                scale.transform(train["features"]), train["labels"]
            )
            for k in range(-5, 2)
        }
        right = {
            c: one.score(scale.transform(val["features"]), val["labels"]) for c, one in fits.items()
        }
    best = max(right, key=lambda c: right[c])
    accuracy = fits[best].score(scale.transform(found.features), labels)
    return [{"C": best, "val": right[best], "test": accuracy, "photos": 10 * EACH["train"]}]


PARTS = {
    "crops": lambda: [run(setting) for setting in CHOICE],
    "figures": lambda: [run(setting) for setting in FIGURES],
    "regression": regression,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.photos",
        description="How the recipe `finetune` was chosen, and what it reaches.",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--make", type=Path, metavar="FOLDER", help="only write photos to train on")
    parser.add_argument("--draw", type=int, choices=DRAWS, default=3, help="which of them")
    options = parser.parse_args()
    if not DEVELOPMENT_DATA.is_dir():
        parser.error(f"this needs the development data, but there is no {DEVELOPMENT_DATA}")
    if options.make:
        print(make(options.make, options.draw))
        return
    for part in options.parts or PARTS:
        environment = record.environment()
        if rows := PARTS[part]():
            print(record.write(f"cpu-photos-{part}", {f"photos-{part}": rows}, environment))


if __name__ == "__main__":
    main()
