"""Images whose label the networks doubt most: most wrong labels are among them."""

from __future__ import annotations

import numpy as np

from senet.analysis.images import TestImages
from senet.analysis.sections import Section
from senet.analysis.statistics import percent
from senet.analysis.subject import Subject
from senet.data import Split
from senet.figures.thumbnail import SIDE, thumbnail
from senet.runs.predictions import Predictions

LEAST, MOST = 24, 120
SHARE = 0.1
"""The list has this share of the images, within the bounds above; fewer if fewer are doubted."""


def doubts(subject: Subject, images: TestImages) -> Section | None:
    """Return the images whose label is improbable and is not the likeliest class.

    They are sorted by the probability of their label: for label errors this is the self-confidence
    of Northcutt, Jiang and Chuang, *Confident Learning* (JAIR 70, 2021). Probabilities are means
    over all networks and seeds. The images of test, and of validation where its predictions were
    kept; of the training images, whose labels the network has learned, it says nothing.
    """
    parts = _parts(subject, images)
    found = [
        (split, part, i, float(shares[i, split.labels[i]]), int(shares[i].argmax()), shares[i])
        for part, split, shares in parts
        for i in np.flatnonzero(shares.argmax(1) != split.labels).tolist()
    ]
    if not found:
        return None
    count = sum(len(shares) for _, _, shares in parts)
    found.sort(key=lambda one: one[3])
    shown = found[: min(MOST, max(LEAST, round(SHARE * count)))]

    def show(split: Split, part: str, i: int, p: float, said: int, shares: np.ndarray) -> Section:
        uri, small = thumbnail(split.picture(i).pixels(SIDE, SIDE).permute(1, 2, 0).numpy())
        return {
            "uri": uri,
            "small": small,
            "name": split.keys()[i] if split.paths else f"{part} image {i}",
            "label": subject.classes[split.labels[i]],
            "of_label": percent(p, 1),
            "says": subject.classes[said],
            "of_said": percent(float(shares[said]), 0),
        }

    return {
        "images": [show(*one) for one in shown],
        "story": f"{len(found):,} of {count:,} images are likelier of another class than of their "
        f"own; here are the {len(shown)} with the least probable labels. Some of them are hard, "
        "and some have the wrong label: look at them first.",
        "caption": "Bold is the label in the data with its probability; below it are the likeliest "
        f"class and the image. {_which(subject, [part for part, *_ in parts])}",
    }


def _which(subject: Subject, parts: list[str]) -> str:
    runs = sum(map(len, subject.finished.values()))
    mean = f" Probabilities are means over {runs} trained networks." if runs > 1 else ""
    return (
        f"These are {' and '.join(parts)} images; of those that were trained on, whose labels were "
        f"learned, nothing can be said.{mean}"
    )


def _parts(subject: Subject, images: TestImages) -> list[tuple[str, Split, np.ndarray]]:
    """Return the splits with predictions, and the mean probabilities ``[n, K]`` of each."""
    runs = [run for own in subject.finished.values() for run in own]
    parts = [("test", images.split, [run.predictions for run in runs])]
    if images.val is not None:
        parts.append(("validation", images.val, [run.val_predictions for run in runs]))
    return [
        (part, split, np.mean([found.probabilities for found in all_of], axis=0))
        for part, split, kept in parts
        if (all_of := _fitting(kept, split))
    ]


def _fitting(kept: list[Predictions | None], split: Split) -> list[Predictions]:
    """Return the predictions of these images; none if the images have changed since."""
    return [p for p in kept if p is not None and np.array_equal(p.labels, split.labels)]
