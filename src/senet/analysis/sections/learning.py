"""Loss and accuracy by epoch."""

from __future__ import annotations

import numpy as np

from senet.analysis.figures.curves import Curve, curves
from senet.analysis.sections import Section
from senet.analysis.subject import Subject
from senet.runs.read import Run


def learning(subject: Subject) -> Section | None:
    """Return loss and accuracy by epoch, of every run that has finished an epoch."""
    begun = [(role, run) for role, runs in subject.begun.items() for run in runs if _epochs(run)]
    if not begun:
        return None

    def of(what: str) -> list[Curve]:
        return [
            Curve(
                role, run.metrics["epoch"], run.metrics[f"train_{what}"], run.metrics[f"val_{what}"]
            )
            for role, run in begun
        ]

    several = len(begun) > len(subject.names)
    recipe = subject.any_run.config["config"]
    harder = [n for n in ("mixup", "cutmix", "label_smoothing") if recipe.get(n)]
    caption = (
        "Training figures are means over an epoch while the weights still change, on augmented "
        "images; validation is measured at its end. The axis of the loss is logarithmic."
    )
    if harder:
        caption += f" The recipe uses {' and '.join(harder)}, which raise the training loss."
    if several:
        caption += " Thin lines are seeds, bold lines their means."
    return {
        "loss": curves("Loss", of("loss"), shares=False),
        "accuracy": curves("Accuracy", of("accuracy"), shares=True),
        "validated": any(np.isfinite(run.metrics["val_loss"]).any() for _, run in begun),
        "caption": caption,
    }


def _epochs(run: Run) -> int:
    return len(run.metrics["epoch"])
