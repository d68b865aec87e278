"""Class by class: how often each is recognised, and what it is mistaken for."""

from __future__ import annotations

import numpy as np

from senet import paired
from senet.analysis.figures import confusion as matrices
from senet.analysis.sections import Section
from senet.analysis.subject import Subject
from senet.paired import signed

PAIRS = 8
"""The length of the list of the most frequent mistakes."""


def classes(subject: Subject) -> Section | None:
    """Return the accuracy of every class."""
    if not subject.seeds:
        return None
    counts = subject.confusion
    images = next(iter(counts.values())).sum(1)
    seen = images > 0
    shares = {role: c.diagonal() / np.maximum(images, 1) for role, c in counts.items()}
    low = min(0.9, float(np.floor(min(s[seen].min() for s in shares.values()) * 10) / 10))
    rows = []
    for k in np.flatnonzero(seen):
        row: Section = {role: f"{100 * shares[role][k]:.1f}" for role in shares}
        row |= {
            "name": subject.classes[k],
            "images": f"{images[k]:,.0f}",
            "dots": {role: f"{100 * (s[k] - low) / (1 - low):.1f}" for role, s in shares.items()},
        }
        if subject.two:
            row["difference"] = signed(shares["se"][k] - shares["plain"][k])
        rows.append(row)
    usual = float(np.median(images[seen]))
    mean = float(np.mean([s[seen].mean() for s in shares.values()]))
    estimate = paired.accuracy(round(usual * mean), round(usual))
    caption = (
        f"With about {usual:,.0f} images per class, the accuracy of one class and network is known "
        f"to about ±{50 * (estimate.high - estimate.low):.1f} points"
    )
    caption += ": keep that in mind for single differences." if subject.two else "."
    if len(subject.seeds) > 1:
        caption += f" Figures are means of {len(subject.seeds)} seeds."
    return {"rows": rows, "axis": f"{100 * low:.0f}", "caption": caption}


def confusion(subject: Subject) -> Section | None:
    """Return the confusion matrices, their difference, and the most frequent mistakes."""
    if not subject.seeds:
        return None
    counts, names = subject.confusion, subject.classes
    panels = []
    if len(names) <= matrices.LARGEST:
        most = max(_largest_mistake(c) for c in counts.values())
        for role, matrix in counts.items():
            panels.append(
                {
                    "name": subject.names[role],
                    "figure": matrices.confusion(matrix, names, role, most),
                    "caption": "",
                }
            )
        if subject.two:
            panels.append(
                {
                    "name": "The change, in images",
                    "figure": matrices.difference(counts["plain"], counts["se"], names),
                    "caption": "Orange favours SE (more right, or fewer mistakes), blue the plain "
                    "network.",
                }
            )
    caption = (
        "Rows are true classes, columns predicted ones. Mistakes are shaded by their share of the "
        "class; the diagonal was right."
    )
    if not panels:
        caption = f"A matrix of {len(names)} classes is too fine to see, so it is left out."
    if len(subject.seeds) > 1:
        caption += f" Counts are means of {len(subject.seeds)} seeds, rounded."
    return {"panels": panels, "pairs": _pairs(subject), "caption": caption}


def _largest_mistake(counts: np.ndarray) -> float:
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    return max(float(shares.max()), 1e-9)


def _pairs(subject: Subject) -> list[Section]:
    total = np.sum(list(subject.confusion.values()), axis=0)
    np.fill_diagonal(total, 0)
    order = np.argsort(total, axis=None, kind="stable")[::-1][:PAIRS]
    places = [divmod(int(at), len(subject.classes)) for at in order if total.flat[at] > 0]
    return [
        {
            "true": subject.classes[i],
            "said": subject.classes[j],
            **{role: f"{c[i, j]:.0f}" for role, c in subject.confusion.items()},
        }
        for i, j in places
    ]
