"""The report of a run folder: one HTML file that opens anywhere and fetches nothing."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any

import jinja2
from torch import nn

import senet
from senet import files
from senet.analysis.evaluation import Evaluation
from senet.analysis.images import TestImages, open_test_images
from senet.analysis.sections import (
    classes,
    cost,
    doubts,
    examples,
    gates,
    learning,
    provenance,
    results,
    variation,
)
from senet.analysis.subject import Subject
from senet.figures import style
from senet.gates import record
from senet.models.weights.file import load_model
from senet.preprocessing import Preprocessing
from senet.runs.folder import RunFolder
from senet.runs.read import read

GATE_IMAGES = 2000
"""Test images, evenly spaced, on which gates are recorded. Figure 6 of the paper: 50 per class."""


def write(run_folder: str | os.PathLike[str]) -> Path:
    """Write ``report.html`` into a run folder; only a complete page replaces an older one.

    The report covers a comparison of two networks or of a family (``senet compare``), a single
    training (``senet train``), or what either has finished so far. It is made from the files of the
    folder; for the gates and the images to show it also opens the data. If that fails, the report
    says so and has the rest.

    Args:
        run_folder: the folder that training wrote.

    Returns:
        the path of the report.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is not a run folder, or a file in it is damaged; the message names the
            file and what to do.
    """
    subject = Subject.of(read(run_folder))
    template, page = ("variation", _of_variation) if subject.variation else ("report", _of_networks)
    html = (
        _environment().get_template(f"{template}.html.j2").render(_common(subject) | page(subject))
    )
    path = RunFolder(subject.folder).report_file
    files.write_text(path, html)
    return path


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("senet.analysis"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["svg"] = style.to_svg
    environment.globals.update(light=style.COLOUR, dark=style.DARK)
    return environment


def _common(subject: Subject) -> dict[str, Any]:
    """Return what every page has."""
    return {
        "version": senet.__version__,
        "written": time.strftime("%Y-%m-%d"),
        "eyebrow": "senet " + ("comparison" if subject.twins else "training run"),
        "many": len(subject.seeds) > 1,
        "missing": _missing(subject),
        "command": provenance.command(subject),
        "facts": provenance.facts(subject),
        "tiles": [],
        "unseen": [],
    }


def write_evaluation(path: str | os.PathLike[str], evaluation: Evaluation) -> Path:
    """Write the report of weights that no run has trained, on images with labels.

    Args:
        path: the file to write.
        evaluation: what the weights say about the images.

    Returns:
        the path of the report.
    """
    subject = evaluation.subject
    images = TestImages(evaluation.images)
    page = _common(subject) | _of_networks(subject, images, evaluation.network)
    page |= {
        "eyebrow": "senet evaluation",
        "command": list(evaluation.command),
        "facts": evaluation.facts,
    }
    html = _environment().get_template("report.html.j2").render(page)
    files.write_text(path, html)
    return Path(path)


def _of_networks(
    subject: Subject, images: TestImages | None = None, network: nn.Module | None = None
) -> dict[str, Any]:
    """Return the page of one network, or of a network and its plain twin."""
    names = list(subject.names.values())
    page: dict[str, Any] = {
        "title": f"{names[1]} and its plain twin on {_data(subject)}" if subject.two
        else f"{names[0]} on {_data(subject)}",
        "two": subject.two,
        "names": subject.names,
        "verdict": results.verdict(subject),
        "tiles": results.tiles(subject),
        "results": results.results(subject),
        "curves": learning.learning(subject),
        "cost": cost.cost(subject),
        "classes": classes.classes(subject),
        "confusion": classes.confusion(subject),
    }  # fmt: skip
    page |= _with_images(subject, images, network)
    page["sections"] = _there(
        ("what", "What it is", True),
        ("accuracy", "Accuracy", page["results"]),
        ("curves", "Learning", page["curves"]),
        ("cost", "Cost", page["cost"]),
        ("classes", "Classes", page["classes"]),
        ("confusion", "Confusion", page["confusion"]),
        ("gates", "Gates", page["gates"]),
        ("examples", "Images", page["examples"]),
        ("doubts", "Doubts", page["doubts"]),
        ("how", "How it was run", True),
        ("methods", "Methods", True),
    )
    return page


def _of_variation(subject: Subject) -> dict[str, Any]:
    """Return the page of a family of networks."""
    about = variation.about(subject)
    page: dict[str, Any] = {
        "title": f"{about['se']} with {about['option']} varied, on {_data(subject)}",
        "about": about,
        "verdict": variation.verdict(subject),
        "results": variation.results(subject),
    }
    page["sections"] = _there(
        ("what", "What was varied", True),
        ("accuracy", "Accuracy and cost", page["results"]),
        ("how", "How it was run", True),
        ("methods", "Methods", True),
    )
    return page


def _data(subject: Subject) -> str:
    return subject.any_run.config["data"].get("name", "unnamed data")


def _there(*sections: tuple[str, str, object]) -> list[tuple[str, str]]:
    """Return the sections that the page has, for its navigation."""
    return [(id, name) for id, name, there in sections if there]


def _missing(subject: Subject) -> dict[str, Any] | None:
    if not subject.missing:
        return None
    word, which = ("compare", "both" if subject.two else "all") if subject.twins else ("train", "")
    shown = f"Only seeds that {which} networks have finished are compared below."
    return {
        "what": shown if subject.twins and subject.seeds else "",
        "lines": subject.missing,
        "command": shlex.join(["senet", word, "--resume", str(subject.folder)]),
    }


def _with_images(
    subject: Subject, given: TestImages | None, network: nn.Module | None
) -> dict[str, Any]:
    """Return the sections that need the test images, and why one is missing."""
    parts: dict[str, Any] = {"gates": None, "examples": None, "doubts": None, "unseen": []}
    if not subject.seeds:
        return parts
    images = given or open_test_images(subject.any_run.config, subject.labels)
    if isinstance(images, str):
        parts["unseen"].append(f"Gates and test images are not shown: {images}")
        return parts
    parts["examples"] = examples.examples(subject, images) if subject.two else None
    parts["doubts"] = doubts.doubts(subject, images)
    if "se" in subject.names:
        parts["gates"] = _gates(subject, images, network)
    return parts


def _gates(subject: Subject, images: TestImages, network: nn.Module | None) -> dict[str, Any]:
    model = network or load_model(subject.finished["se"][0].model_file)[0]
    chosen = images.spread(GATE_IMAGES)
    preprocessing = Preprocessing(**subject.any_run.config["data"]["preprocessing"])
    batches = images.batches(chosen, preprocessing)
    blocks = list(record(model, batches, len(subject.classes)).values())
    return gates.gates(subject, blocks, len(chosen))
