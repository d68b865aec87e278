"""Test images that just one of two networks got right."""

from __future__ import annotations

import numpy as np

from senet.analysis.images import TestImages
from senet.analysis.sections import Section
from senet.analysis.statistics import percent
from senet.analysis.subject import Subject

EXAMPLES = 12
"""The images per group."""


def examples(subject: Subject, images: TestImages) -> Section:
    """Return test images that just one network got right."""
    said = {role: subject.predictions(role)[0] for role in subject.names}
    right = {role: p.right for role, p in said.items()}
    seed = f" of seed {subject.seeds[0]}" if len(subject.seeds) > 1 else ""

    def show(index: int) -> Section:
        uri, small = images.thumbnail(index)
        return {
            "index": index,
            "uri": uri,
            "small": small,
            "true": subject.classes[subject.labels[index]],
            "said": {role: says(role, index) for role in said},
        }

    def says(role: str, index: int) -> str:
        who = {"se": "SE ", "plain": "plain "}[role]
        name = "✓" if right[role][index] else subject.classes[said[role].predicted[index]]
        return f"{who}{name} {percent(float(said[role].confidence[index]), 0)}"

    def group(name: str, shown: np.ndarray, found: np.ndarray) -> Section:
        return {
            "name": f"{name}: {len(shown)} of {len(found):,}",
            "images": [show(int(i)) for i in shown],
        }

    only_se = np.flatnonzero(right["se"] & ~right["plain"])
    only_plain = np.flatnonzero(right["plain"] & ~right["se"])
    return {
        "groups": [
            group("SE right, plain wrong", _spread(only_se), only_se),
            group("Plain right, SE wrong", _spread(only_plain), only_plain),
        ],
        "caption": f"Bold is the right class; below it are the answers of both networks{seed}, "
        "with their probabilities; ✓ is the right class. The images are spread evenly over the "
        "test set, not chosen.",
    }


def _spread(indices: np.ndarray) -> np.ndarray:
    """Return at most as many of them as a group has, evenly spaced."""
    places = np.linspace(0, len(indices) - 1, min(EXAMPLES, len(indices)))
    return indices[places.astype(int)]
